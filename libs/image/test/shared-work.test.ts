import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedWork } from "@dstack/image/store";

function begun(): { work: SharedWork<string>; finish: (value: string) => void; given: () => AbortSignal | undefined } {
  const { promise, resolve } = Promise.withResolvers<string>();
  let seen: AbortSignal | undefined;
  const work = new SharedWork((signal) => {
    seen = signal;
    return promise;
  });
  return { work, finish: resolve, given: () => seen };
}

test("one who leaves no longer waits, and the work goes on for the others", async () => {
  const { work, finish, given } = begun();
  const leaving = new AbortController();
  const [gone, patient] = [work.wait(leaving.signal), work.wait(new AbortController().signal)];
  leaving.abort(new Error("hung up"));
  await assert.rejects(gone, /hung up/);
  assert.deepEqual([work.isGivenUp, given()?.aborted], [false, false]);
  finish("done");
  assert.equal(await patient, "done");
});

test("the work is told to end when the last has left, and who waits without a signal never leaves", async () => {
  for (const isKept of [false, true]) {
    const { work, given } = begun();
    const leaving = new AbortController();
    if (isKept) void work.wait();
    const waiting = [work.wait(leaving.signal), work.wait(leaving.signal)];
    leaving.abort(new Error("hung up"));
    for (const wait of waiting) await assert.rejects(wait, /hung up/);
    assert.deepEqual([work.isGivenUp, given()?.aborted], [!isKept, !isKept]);
  }
});

test("who leaves after the end gives up nothing, and who comes gone already has its reason", async () => {
  const { work, finish } = begun();
  const leaving = new AbortController();
  finish("done");
  assert.equal(await work.wait(leaving.signal), "done");
  leaving.abort();
  assert.equal(work.isGivenUp, false);
  await assert.rejects(work.wait(AbortSignal.abort(new Error("gone"))), /gone/);
  assert.equal(work.isGivenUp, false);
});

test("a failure is told to who waits, and is nobody's after the last has left", async () => {
  const failing = new SharedWork(() => Promise.reject(new Error("no image")));
  await assert.rejects(failing.wait(), /no image/);
  const leaving = new AbortController();
  const ended = new SharedWork(
    (signal) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("ended")))),
  );
  const wait = ended.wait(leaving.signal);
  leaving.abort(new Error("hung up"));
  await assert.rejects(wait, /hung up/);
  await new Promise((resolve) => setImmediate(resolve));
});
