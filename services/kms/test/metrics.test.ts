import assert from "node:assert/strict";
import { test } from "node:test";
import { SeenPlatforms } from "@dstack/verify";
import { Metrics } from "../src/metrics.ts";
import { Status } from "../src/status.ts";

const HOSTILE = 'a"} 1\nforged_metric{x="\\';
const ESCAPED = String.raw`a\"} 1\nforged_metric{x=\"\\`;

function metricsOf(platforms: SeenPlatforms, insecureSettings: readonly string[] = []): Promise<string> {
  const status = new Status({
    environment: "development",
    insecureSettings,
    version: "v",
    domain: "kms.example",
    attestsItself: false,
  });
  return new Metrics(status, { head: { seq: 0, hash: "", size: 0 } }, platforms, () => new Map()).text();
}

test("shows how many platforms of a family were seen with which TCB status", async () => {
  const platforms = new SeenPlatforms({ now: () => 0 });
  const fmspc = new Uint8Array(6).fill(0x90);
  platforms.saw({ ppid: new Uint8Array(16).fill(1), fmspc, status: "UpToDate" });
  platforms.saw({ ppid: new Uint8Array(16).fill(2), fmspc, status: "OutOfDate" });
  platforms.saw({ ppid: new Uint8Array(16).fill(3), fmspc, status: "OutOfDate" });
  const text = await metricsOf(platforms);
  assert.match(text, /^dstack_kms_platforms_seen\{fmspc="909090909090",status="UpToDate"\} 1$/m);
  assert.match(text, /^dstack_kms_platforms_seen\{fmspc="909090909090",status="OutOfDate"\} 2$/m);
});

test("a platform that changed its status is not counted with the old one as well", async () => {
  const platforms = new SeenPlatforms({ now: () => 0 });
  const platform = { ppid: new Uint8Array(16), fmspc: new Uint8Array(6) };
  const metrics = new Metrics(
    new Status({ environment: "production", insecureSettings: [], version: "v", domain: "d", attestsItself: true }),
    { head: { seq: 0, hash: "", size: 0 } },
    platforms,
    () => new Map(),
  );
  platforms.saw({ ...platform, status: "OutOfDate" });
  await metrics.text();
  platforms.saw({ ...platform, status: "UpToDate" });
  assert.doesNotMatch(await metrics.text(), /OutOfDate/);
});

test("no label's value ends its label or its line (D5)", async () => {
  const text = await metricsOf(new SeenPlatforms({ now: () => 0 }), [HOSTILE]);
  assert.doesNotMatch(text, /^forged_metric/m);
  assert.ok(text.includes(`dstack_kms_insecure_setting_info{setting="${ESCAPED}"} 1`), text);
});
