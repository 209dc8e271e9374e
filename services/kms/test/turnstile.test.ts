import assert from "node:assert/strict";
import { test } from "node:test";
import { KmsError } from "../src/errors.ts";
import { Turnstile } from "../src/release/turnstile.ts";

const never = new AbortController().signal;

test("lets so many through at a time, in the order in which they came, also after one fails", async () => {
  const turnstile = new Turnstile({ places: 2, maxWaiting: 10 });
  const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const inside: number[] = [];
  const all = gates.map(({ promise }, index) =>
    turnstile
      .through(() => {
        inside.push(index);
        return promise;
      }, never)
      .catch(() => undefined),
  );
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  await settle();
  assert.deepEqual(inside, [0, 1]);
  gates[1]!.reject(new Error("no answer"));
  await settle();
  assert.deepEqual(inside, [0, 1, 2]);
  for (const { resolve } of gates) resolve();
  await Promise.all(all);
  assert.deepEqual(inside, [0, 1, 2, 3, 4]);
  let ran = 0;
  await Promise.all([1, 2].map(() => turnstile.through(() => Promise.resolve(ran++), never)));
  assert.equal(ran, 2, "all places are free again");
});

test("who gives up leaves the queue and takes no place; too many are turned away", async () => {
  const turnstile = new Turnstile({ places: 1, maxWaiting: 1 });
  const gate = Promise.withResolvers<void>();
  const first = turnstile.through(() => gate.promise, never);
  const gone = new AbortController();
  const second = turnstile.through(() => assert.fail("it gave up"), gone.signal);
  await assert.rejects(
    turnstile.through(() => Promise.resolve(), never),
    (error: unknown) => error instanceof KmsError && error.code === "overloaded",
  );
  gone.abort(new Error("closed"));
  await assert.rejects(second, /closed/);
  await assert.rejects(
    turnstile.through(() => Promise.resolve(), gone.signal),
    /closed/,
  );
  gate.resolve();
  await first;
  assert.equal(await turnstile.through(() => Promise.resolve("in"), never), "in");
});
