import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { BootInfo, BootKind } from "../src/boot-info.ts";
import { commandFor } from "../src/command-for.ts";
import { parseAuthConfig } from "../src/file-policy/auth-config.ts";
import { decide } from "../src/file-policy/decide.ts";

const sourceOf = (file: string): string => readFileSync(join(import.meta.dirname, "../src", file), "utf8");
const [A20, A32, B32, C32, D32] = ["33".repeat(20), "11".repeat(32), "22".repeat(32), "44".repeat(32), "66".repeat(32)];
const BOOT: BootInfo = {
  mrAggregated: A32,
  osImageHash: B32,
  appId: A20,
  composeHash: C32,
  instanceId: "",
  deviceId: D32,
  tcbStatus: "UpToDate",
  advisoryIds: [],
  mrSystem: "",
  teeVariant: "",
};
const POLICY = {
  osImages: [B32],
  kms: { mrAggregated: [A32], devices: [D32] },
  apps: { [A20]: { composeHashes: [C32], devices: [D32] } },
};
const OTHER = "ff".repeat(32);

/** How each denial of a policy file comes about, and what the operator is told to run; undefined where nothing helps. */
const DENIALS: Readonly<Record<string, { kind: BootKind; boot: Partial<BootInfo>; command: string }>> = {
  "TCB status is not allowed": { kind: "app", boot: { tcbStatus: "OutOfDate" }, command: "allow status OutOfDate" },
  "advisory ID is not allowed": {
    kind: "app",
    boot: { advisoryIds: ["INTEL-SA-1", "INTEL-SA-2"] },
    command: "allow advisory INTEL-SA-1,INTEL-SA-2",
  },
  "OS image is not allowed": { kind: "kms", boot: { osImageHash: OTHER }, command: `allow os-image 0x${OTHER}` },
  "aggregated MR not allowed": { kind: "kms", boot: { mrAggregated: OTHER }, command: `allow kms 0x${OTHER}` },
  "KMS is not allowed to boot on this device": {
    kind: "kms",
    boot: { deviceId: OTHER },
    command: `allow device 0x${OTHER} --kms`,
  },
  "app not registered": { kind: "app", boot: { appId: "ff".repeat(20) }, command: `allow app 0x${"ff".repeat(20)}` },
  "compose hash not allowed": {
    kind: "app",
    boot: { composeHash: OTHER },
    command: `allow compose 0x${OTHER} --app 0x${A20}`,
  },
  "app is not allowed to boot on this device": {
    kind: "app",
    boot: { deviceId: OTHER },
    command: `allow device 0x${OTHER} --app 0x${A20}`,
  },
};

test("every denial of a policy file names its rule, the field that it looked at, and the command that changes it", () => {
  const { config } = parseAuthConfig(JSON.stringify(POLICY), {
    strictHex: true,
    strictKms: true,
    compatEmptyDevices: false,
  });
  const inSource = [...sourceOf("file-policy/decide.ts").matchAll(/denied\(\s*"([^"]+)"/g)].map(([, reason]) => reason);
  assert.deepEqual(inSource.toSorted(), Object.keys(DENIALS).toSorted(), "each denial has its case here");
  for (const kind of ["app", "kms"] as const) assert.equal(decide(config, kind, BOOT).isAllowed, true);
  for (const [reason, { kind, boot, command }] of Object.entries(DENIALS)) {
    const asked = { ...BOOT, ...boot };
    const decision = decide(config, kind, asked);
    assert.ok(!decision.isAllowed, reason);
    assert.equal(decision.reason, reason);
    assert.ok(Object.hasOwn(boot, decision.field), `${reason}: field ${decision.field}`);
    // The rule is the place in the file: the first of its names is there.
    assert.match(decision.rule, /^(?:osImages|kms\.|apps|allowed)/, reason);
    assert.equal(commandFor(kind, decision, asked), command, reason);
  }
});

test("no command is made of what a shell would read otherwise", () => {
  for (const value of ["$(id)", "`id`", "a;b", "a b", "0x\n", "'"])
    for (const [field, rule] of [
      ["osImageHash", "osImages"],
      ["mrAggregated", "kms.mrAggregated"],
      ["composeHash", "apps"],
      ["deviceId", "kms.devices"],
      ["appId", "apps"],
      ["tcbStatus", "allowedTcbStatuses"],
    ] as const)
      assert.equal(commandFor("app", { rule, field }, { ...BOOT, [field]: value }), undefined, `${field} ${value}`);
  assert.equal(commandFor("app", { rule: "x", field: "composeHash" }, { ...BOOT, appId: "$(id)" }), undefined);
});

test("every rule of signed answers is held by a case of its own", () => {
  const rules = new Set(
    [...sourceOf("signed-answer.ts").matchAll(/refuse\(\s*"([^"]+)"/g)].map(([, rule = ""]) => rule),
  );
  const held = readFileSync(join(import.meta.dirname, "signed-answer.test.ts"), "utf8");
  assert.ok(rules.size >= 5);
  for (const rule of rules) assert.ok(held.includes(`"${rule}"`), rule);
});
