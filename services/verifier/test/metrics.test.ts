import assert from "node:assert/strict";
import { test } from "node:test";
import type { DocumentKind, TcbStatus } from "@dstack/attest";
import { SeenPlatforms } from "@dstack/verify";
import { Metrics } from "../src/metrics.ts";

test("shows how many platforms of a family were seen with which TCB status", async () => {
  const platforms = new SeenPlatforms({ now: () => 0 });
  const metrics = new Metrics(platforms, () => new Map());
  platforms.saw({ ppid: new Uint8Array(16), fmspc: new Uint8Array(6).fill(0x90), status: "OutOfDate" });
  assert.match(await metrics.text(), /^dstack_verifier_platforms_seen\{fmspc="909090909090",status="OutOfDate"\} 1$/m);
  platforms.saw({ ppid: new Uint8Array(16), fmspc: new Uint8Array(6).fill(0x90), status: "UpToDate" });
  assert.doesNotMatch(await metrics.text(), /OutOfDate/);
});

test("no label's value ends its label or its line (D5)", async () => {
  const platforms = new SeenPlatforms({ now: () => 0 });
  // No status is called so; whatever is ever put there must not write lines of its own.
  const status = 'a"} 1\nforged_metric{x="\\' as TcbStatus;
  platforms.saw({ ppid: new Uint8Array(16), fmspc: new Uint8Array(6), status });
  const text = await new Metrics(platforms, () => new Map()).text();
  assert.doesNotMatch(text, /^forged_metric/m);
  assert.ok(text.includes(String.raw`status="a\"} 1\nforged_metric{x=\"\\"} 1`), text);
});

test("shows how many days are left of each kind of document in use, and none of those out of use", async () => {
  let left = new Map<DocumentKind, number>([
    ["pck_crl", 6.5],
    ["tcb_info", -1],
  ]);
  const metrics = new Metrics(new SeenPlatforms({ now: () => 0 }), () => left);
  const text = await metrics.text();
  assert.match(text, /^dstack_verifier_collateral_left_days\{document="pck_crl"\} 6\.5$/m);
  assert.match(text, /^dstack_verifier_collateral_left_days\{document="tcb_info"\} -1$/m);
  left = new Map();
  assert.doesNotMatch(await metrics.text(), /^dstack_verifier_collateral_left_days\{/m);
});
