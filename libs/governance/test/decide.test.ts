import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAuthConfig } from "../src/file-policy/auth-config.ts";
import { parseBootInfo, type BootInfo, type BootKind, type Decision } from "../src/boot-info.ts";
import { decide } from "../src/file-policy/decide.ts";
import { GovernanceError } from "../src/errors.ts";
import type { Switches } from "../src/file-policy/switches.ts";

const IMAGE = "0x1fbb0cf9cc6cfbf23d6b779776fabad2c5403d643badb9e5e238615e4960a78a";
const BASE = {
  mrAggregated: "0xabc123",
  osImageHash: IMAGE,
  appId: "0xapp123",
  composeHash: "0xcompose456",
  instanceId: "0xinstance789",
  deviceId: "0xdevice999",
  tcbStatus: "UpToDate",
  advisoryIds: [],
  mrSystem: "",
  teeVariant: "dstack-tdx",
};
const PLAIN: Switches = { strictHex: false, strictKms: false, compatEmptyDevices: false };

const answer = (
  kind: BootKind,
  config: object,
  more: Partial<BootInfo> = {},
  switches: Partial<Switches> = {},
): Decision =>
  decide(parseAuthConfig(JSON.stringify({ osImages: [IMAGE], ...config }), { ...PLAIN, ...switches }).config, kind, {
    ...BASE,
    ...more,
  });
const reason = (decision: Decision): string => (decision.isAllowed ? "" : decision.reason);
const app = (rule: object): object => ({ apps: { "0xapp123": rule } });

test("KMS: measurement and device must be listed (S2, S7, S9)", () => {
  const listed = { kms: { mrAggregated: ["0xabc123"], devices: ["0xdevice999"] } };
  assert.equal(reason(answer("kms", listed)), "");
  assert.equal(
    reason(answer("kms", { kms: { mrAggregated: ["0xdifferentmr"], allowAnyDevice: true } })),
    "aggregated MR not allowed",
  );
  assert.equal(
    reason(answer("kms", { kms: { mrAggregated: ["0xabc123"], devices: ["0xotherdevice"], allowAnyDevice: true } })),
    "",
  );
  assert.equal(
    reason(answer("kms", { kms: { mrAggregated: ["0xabc123"], devices: ["0xotherdevice"] } })),
    "KMS is not allowed to boot on this device",
  );
});

test("app: of one named twice, in whatever spelling, the first entry counts and a warning says so", () => {
  const id = "ab".repeat(20);
  const twice = {
    apps: {
      [`0x${id.toUpperCase()}`]: { composeHashes: ["0xcompose456"], allowAnyDevice: true },
      [id]: { composeHashes: ["0xother"], allowAnyDevice: true },
    },
  };
  assert.equal(reason(answer("app", twice, { appId: id })), "");
  assert.equal(reason(answer("app", twice, { appId: id, composeHash: "0xother" })), "compose hash not allowed");
  const { warnings } = parseAuthConfig(JSON.stringify(twice), PLAIN);
  assert.ok(warnings.includes(`apps.${id}: listed twice; the first entry counts`), warnings.join("\n"));
});

test("KMS: an absent measurement list admits any, an empty one none (S8, S21)", () => {
  assert.equal(reason(answer("kms", { kms: { mrAggregated: [], allowAnyDevice: true } })), "aggregated MR not allowed");
  assert.equal(reason(answer("kms", { kms: { allowAnyDevice: true } })), "");
  assert.equal(
    reason(answer("kms", { kms: { allowAnyDevice: true } }, {}, { strictKms: true })),
    "aggregated MR not allowed",
  );
});

test("TCB status, advisories and image come before everything else (S3 to S6)", () => {
  const kms = { kms: { mrAggregated: ["0xabc123"], allowAnyDevice: true } };
  assert.equal(reason(answer("kms", kms, { tcbStatus: "OutOfDate" })), "TCB status is not allowed");
  assert.equal(reason(answer("kms", kms, { tcbStatus: "" })), "TCB status is not allowed");
  assert.equal(reason(answer("kms", kms, { tcbStatus: "uptodate" })), "TCB status is not allowed");
  assert.equal(reason(answer("kms", { ...kms, allowedTcbStatuses: ["OutOfDate"] }, { tcbStatus: "OutOfDate" })), "");
  assert.equal(reason(answer("kms", kms, { advisoryIds: ["INTEL-SA-TEST"] })), "advisory ID is not allowed");
  assert.equal(
    reason(answer("kms", { ...kms, allowedAdvisoryIds: ["INTEL-SA-TEST"] }, { advisoryIds: ["INTEL-SA-TEST"] })),
    "",
  );
  assert.equal(reason(answer("kms", { ...kms, osImages: ["0xdifferentimage"] })), "OS image is not allowed");
  assert.equal(
    reason(answer("app", { osImages: [], ...app({ composeHashes: ["0xcompose456"], allowAnyDevice: true }) })),
    "OS image is not allowed",
  );
});

test("app: it, its compose hash and its device must be listed (S10 to S14)", () => {
  assert.equal(reason(answer("app", app({ composeHashes: ["0xcompose456"], devices: ["0xdevice999"] }))), "");
  assert.equal(reason(answer("app", { apps: {} })), "app not registered");
  assert.equal(
    reason(answer("app", app({ composeHashes: ["0xdifferenthash"], allowAnyDevice: true }))),
    "compose hash not allowed",
  );
  assert.equal(reason(answer("app", app({ allowAnyDevice: true }))), "compose hash not allowed");
  assert.equal(
    reason(answer("app", app({ composeHashes: ["0xcompose456"], devices: ["0xotherdevice"] }))),
    "app is not allowed to boot on this device",
  );
  assert.equal(reason(answer("app", app({ composeHashes: ["0xcompose456"], devices: [], allowAnyDevice: true }))), "");
});

test("an empty device list admits no device unless the old reading is asked for (DS #1247, S17)", () => {
  const empty = app({ composeHashes: ["0xcompose456"], devices: [], allowAnyDevice: false });
  assert.equal(reason(answer("app", empty)), "app is not allowed to boot on this device");
  assert.equal(reason(answer("app", empty, {}, { compatEmptyDevices: true })), "");
  assert.equal(
    reason(answer("kms", { kms: { mrAggregated: ["0xabc123"], devices: [] } })),
    "KMS is not allowed to boot on this device",
  );
  assert.equal(
    reason(answer("app", app({ composeHashes: ["0xcompose456"] }))),
    "",
    "an absent list is the reference's",
  );
});

test("a denial names the rule and the field that decided", () => {
  const decision = answer("app", app({ composeHashes: [], allowAnyDevice: true }));
  assert.deepEqual(decision, {
    isAllowed: false,
    reason: "compose hash not allowed",
    rule: "apps.0xapp123.composeHashes",
    field: "composeHash",
  });
});

test("case and 0x are folded, nothing else (S15, S16, DS #1268, #1310)", () => {
  const rule = { composeHashes: ["0xCOMPOSE456"], allowAnyDevice: true };
  assert.equal(reason(answer("app", { osImages: [IMAGE.slice(2).toUpperCase()], apps: { APP123: rule } })), "");
  const hash = `0x${"00".repeat(1)}${"ab".repeat(31)}`;
  const listed = app({ composeHashes: [hash], allowAnyDevice: true });
  assert.equal(reason(answer("app", listed, { composeHash: hash })), "");
  for (const short of [`0x${"ab".repeat(31)}`, `0x0${"ab".repeat(31)}`, ` ${hash}`, `${hash}00`, "", "0x"]) {
    assert.equal(reason(answer("app", listed, { composeHash: short })), "compose hash not allowed", short);
  }
});

test("an id that names a property of objects is just unknown", () => {
  for (const appId of ["__proto__", "constructor", "toString"])
    assert.equal(reason(answer("app", { apps: {} }, { appId })), "app not registered");
});

test("warns about absent, empty and malformed lists by name, and refuses malformed ones where told", () => {
  const text = JSON.stringify({
    osImages: ["0x12"],
    kms: {},
    apps: { [`0x${"11".repeat(20)}`]: { composeHashes: ["22".repeat(33)], devices: [] }, "0xshort": {} },
  });
  const { warnings } = parseAuthConfig(text, PLAIN);
  for (const part of [
    "osImages: 1 of 1",
    "kms.mrAggregated is absent",
    "kms.devices is absent",
    "composeHashes: 1 of 1",
    "0x1111",
    "apps.0xshort: the app id",
    "apps.0xshort.devices is absent",
  ]) {
    assert.ok(
      warnings.some((warning) => warning.includes(part)),
      part,
    );
  }
  assert.throws(
    () => parseAuthConfig(text, { ...PLAIN, strictHex: true }),
    (error: unknown) => error instanceof GovernanceError && error.code === "config-invalid",
  );
});

test("refuses files and requests of another shape, naming the key", () => {
  for (const [text, part] of [
    ["{", "JSON"],
    ["[]", "object"],
    ['{"osImages":"x"}', "osImages"],
    ['{"apps":{"0x1":{"devices":[1]}}}', "devices"],
    ['{"chainId":"1"}', "chainId"],
  ] as const) {
    assert.throws(
      () => parseAuthConfig(text, PLAIN),
      (error: unknown) => error instanceof GovernanceError && error.message.includes(part),
      text,
    );
  }
  for (const body of ["", "null", "[]", '{"mrAggregated":"0x00"}', JSON.stringify({ ...BASE, advisoryIds: "x" })])
    assert.throws(() => parseBootInfo(body), GovernanceError, body);
  // What is taken is logged: each field has an end.
  assert.throws(() => parseBootInfo(JSON.stringify(BASE).replace("{", '{"appId":"0x00",')), /"appId" is said twice/);
  for (const long of [
    { appId: "a".repeat(257) },
    { advisoryIds: ["x".repeat(65)] },
    { advisoryIds: Array(257).fill("x") },
  ])
    assert.throws(() => parseBootInfo(JSON.stringify({ ...BASE, ...long })), GovernanceError);
  assert.equal(parseBootInfo(JSON.stringify({ ...BASE, extra: 1, tcbStatus: undefined })).tcbStatus, "");
});
