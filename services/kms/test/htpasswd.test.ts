import assert from "node:assert/strict";
import { test } from "node:test";
import { passwordCheck } from "../src/http/htpasswd.ts";

/** Checks that end when they are told to, in the order in which they began. */
function slowChecks() {
  const ends: (() => void)[] = [];
  let begun = 0;
  const isUser = passwordCheck(
    new Map([["ana", "hash of sesame"]]),
    (password, hash) =>
      new Promise((resolve) => {
        begun++;
        ends.push(() => resolve(hash === `hash of ${password}`));
      }),
  );
  const endNext = async (): Promise<void> => {
    ends.shift()?.();
    for (let i = 0; i < 10; i++) await Promise.resolve();
  };
  return { isUser, endNext, begun: () => begun };
}

test("one address that asks and asks has few checks waiting, and an administrator from elsewhere is next but one", async () => {
  const { isUser, endNext, begun } = slowChecks();
  const flood = Array.from({ length: 100 }, () => isUser("ana", "guess", "192.0.2.7"));
  const outcomes: boolean[] = [];
  for (const check of flood) void check.then((outcome) => outcomes.push(outcome));
  const honest = isUser("ana", "sesame", "192.0.2.8");
  let isAdmin: boolean | undefined;
  void honest.then((outcome) => (isAdmin = outcome));
  for (let i = 0; i < 3; i++) await endNext();
  assert.equal(isAdmin, true);
  for (let i = 0; i < 10; i++) await endNext();
  assert.deepEqual([outcomes.length, outcomes.some(Boolean), begun() <= 7], [100, false, true]);
});

test("addresses of one IPv6 network share what may wait, and one check runs at a time", async () => {
  const { isUser, endNext, begun } = slowChecks();
  const checks = Array.from({ length: 20 }, (_, i) => isUser("ana", "sesame", `2001:db8::${(i + 1).toString(16)}`));
  assert.equal(begun(), 1);
  for (let i = 0; i < 10; i++) await endNext();
  assert.equal((await Promise.all(checks)).filter(Boolean).length, 5);
});

test("who is no user is refused whatever the comparison says, and there are no users without one", async () => {
  const always = (): Promise<boolean> => Promise.resolve(true);
  assert.equal(await passwordCheck(new Map([["ana", "x"]]), always)("bob", "y"), false);
  assert.equal(await passwordCheck(new Map([["ana", "x"]]), always)("ana", "y"), true);
  assert.equal(await passwordCheck(new Map(), always)("ana", "y"), false);
  const failing = passwordCheck(new Map([["ana", "x"]]), () => Promise.reject(new Error("broken")));
  await assert.rejects(failing("ana", "y"), /broken/);
  await assert.rejects(failing("ana", "y"), /broken/, "and the next one is looked at");
});
