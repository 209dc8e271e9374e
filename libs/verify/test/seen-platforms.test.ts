import assert from "node:assert/strict";
import { test } from "node:test";
import type { TcbStatus } from "@dstack/attest";
import { u32le } from "@dstack/bytes";
import { SeenPlatforms } from "@dstack/verify";

const DAY_MS = 24 * 60 * 60 * 1000;
const claims = (platform: number, family: number, status: TcbStatus) => ({
  ppid: Uint8Array.from([...u32le(platform), ...new Uint8Array(12)]),
  fmspc: new Uint8Array(6).fill(family),
  status,
});

test("counts each platform once, with its last verdict, by family and status", () => {
  const platforms = new SeenPlatforms({ now: () => 0 });
  platforms.saw(claims(1, 0x90, "UpToDate"));
  platforms.saw(claims(1, 0x90, "UpToDate"));
  platforms.saw(claims(2, 0x90, "UpToDate"));
  platforms.saw(claims(3, 0xb0, "UpToDate"));
  platforms.saw(claims(2, 0x90, "OutOfDate"));
  assert.deepEqual(platforms.counts(), [
    { fmspc: "90".repeat(6), status: "UpToDate", count: 1 },
    { fmspc: "b0".repeat(6), status: "UpToDate", count: 1 },
    { fmspc: "90".repeat(6), status: "OutOfDate", count: 1 },
  ]);
});

test("forgets a platform that was not seen for a day", () => {
  let now = 0;
  const platforms = new SeenPlatforms({ now: () => now });
  platforms.saw(claims(1, 0x90, "UpToDate"));
  now = DAY_MS - 1;
  assert.equal(platforms.counts().length, 1);
  now = DAY_MS;
  assert.deepEqual(platforms.counts(), []);
});

test("remembers no more platforms than its bound, those seen last", () => {
  const platforms = new SeenPlatforms({ now: () => 0 });
  for (let platform = 0; platform < 5000; platform++)
    platforms.saw(claims(platform, platform < 500 ? 0x10 : 0x90, "UpToDate"));
  assert.deepEqual(platforms.counts(), [{ fmspc: "90".repeat(6), status: "UpToDate", count: 4096 }]);
});
