import assert from "node:assert/strict";
import { test } from "node:test";
import { networkOf } from "@dstack/rpc";
import { RateLimiter } from "../src/rate-limit/rate-limiter.ts";

function limiter(perMinute: number, maxKeys = 100) {
  const clock = { time: 1_000_000, now: () => clock.time };
  return { clock, limiter: new RateLimiter({ perMinute, maxKeys, clock }) };
}

test("a key may make its calls of a minute at once, then one by one, and others are not touched", () => {
  const { clock, limiter: rate } = limiter(60);
  for (let i = 0; i < 60; i++) assert.equal(rate.take("a"), undefined);
  assert.equal(rate.take("a"), 1);
  assert.equal(rate.take("b"), undefined);
  clock.time += 1_000;
  assert.equal(rate.take("a"), undefined);
  assert.equal(rate.take("a"), 1);
  clock.time += 3_600_000;
  for (let i = 0; i < 60; i++) assert.equal(rate.take("a"), undefined);
  assert.equal(rate.take("a"), 1, "silence is saved up for a minute only");
});

test("a slow limit says how long to wait, and a clock set back neither gives nor takes", () => {
  const { clock, limiter: rate } = limiter(2);
  assert.deepEqual([rate.take("a"), rate.take("a"), rate.take("a")], [undefined, undefined, 30]);
  clock.time -= 10_000_000;
  assert.equal(rate.take("a"), 30);
  clock.time += 30_000;
  assert.equal(rate.take("a"), undefined);
});

test("a call that is given back was never counted, and nobody is given more than he has", () => {
  const { limiter: rate } = limiter(2);
  for (let i = 0; i < 10; i++) {
    assert.equal(rate.take("a"), undefined);
    rate.giveBack("a");
  }
  for (let i = 0; i < 5; i++) rate.giveBack("a");
  rate.giveBack("never seen");
  assert.deepEqual([rate.take("a"), rate.take("a"), rate.take("a")], [undefined, undefined, 30]);
  assert.equal(rate.size, 1);
});

test("memory is bounded: of many keys the ones that were quiet longest are forgotten", () => {
  const { limiter: rate } = limiter(1, 50);
  assert.equal(rate.take("hot"), undefined);
  for (let i = 0; i < 100_000; i++) {
    rate.take(`key ${i}`);
    if (i % 10 === 0) assert.equal(typeof rate.take("hot"), "number");
  }
  assert.equal(rate.size, 50);
});

test("0 means no limit", () => {
  const { limiter: rate } = limiter(0);
  for (let i = 0; i < 1_000; i++) assert.equal(rate.take("a"), undefined);
  assert.equal(rate.size, 0);
});

test("an IPv6 caller is its /64, however written; an IPv4 one its address", () => {
  for (const [address, network] of [
    ["10.0.2.2", "10.0.2.2"],
    ["::ffff:10.0.2.2", "10.0.2.2"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:0DB8:0001:2::9", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["", ""],
  ] as const)
    assert.equal(networkOf(address), network, address);
});
