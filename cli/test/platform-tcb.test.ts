import assert from "node:assert/strict";
import { test } from "node:test";
import type { TcbStatus } from "@dstack/attest";
import { judgeTcb, platformFacts, type PlatformClaims } from "../src/verify/platform-tcb.ts";

const claims = (status: TcbStatus, change: Partial<PlatformClaims> = {}): PlatformClaims => ({
  status,
  advisoryIds: [],
  relaunchAdvised: false,
  ppid: new Uint8Array(16),
  ...change,
});

test("no status but UpToDate passes by itself", () => {
  assert.equal(judgeTcb(claims("UpToDate"), undefined).result, "pass");
  for (const status of [
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
  ] as const) {
    assert.equal(judgeTcb(claims(status), undefined).result, "not bound", status);
    assert.equal(judgeTcb(claims(status), { acceptedAdvisories: [] }).result, "not bound", status);
    assert.equal(judgeTcb(claims(status), { acceptedStatuses: [] }).result, "pass", "the policy's own check decides");
  }
});

test("advisories on a platform that is up to date are named in the check and a warning of the report", () => {
  const advised = claims("UpToDate", { advisoryIds: ["INTEL-SA-00001"] });
  assert.deepEqual(judgeTcb(advised, undefined), { result: "pass", reason: "UpToDate, advisories INTEL-SA-00001" });
  assert.deepEqual(
    platformFacts("memory", advised).map(({ name, warning = false }) => [name, warning]),
    [
      ["memory", false],
      ["advisories", true],
    ],
  );
  assert.deepEqual(
    platformFacts("memory", claims("UpToDate")).map(({ warning = false }) => warning),
    [false],
  );
});

test("a platform that only has to start its VM again, or that no level is better for, is told so", () => {
  const [relaunch] = platformFacts("memory", claims("OutOfDate", { relaunchAdvised: true }));
  assert.match(relaunch?.value ?? "", /OutOfDate.*start the VM again to show it/);
  assert.equal(relaunch?.warning, true);
  assert.match(judgeTcb(claims("SWHardeningNeeded"), undefined).reason, /no level that Intel publishes is better/);
});
