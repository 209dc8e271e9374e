import assert from "node:assert/strict";
import { test } from "node:test";
import {
  changeDocument,
  diffDocuments,
  policyLines,
  GovernanceError,
  parsePolicyDocument,
  type PolicyChange,
  type PolicyDocument,
} from "../src/index.ts";

const APP = `0x${"a1".repeat(20)}`;
const HASH = `0x${"c0".repeat(32)}`;
const change = (policy: PolicyDocument, ...changes: PolicyChange[]): PolicyDocument =>
  changes.reduce(changeDocument, policy);

test("entries are added once and taken whatever their spelling", () => {
  const listed = { osImages: [HASH.slice(2).toUpperCase(), `0x${"11".repeat(32)}`] };
  assert.deepEqual(change(listed, { kind: "os-image", value: HASH, isAllowed: true }), listed);
  assert.deepEqual(change(listed, { kind: "os-image", value: HASH, isAllowed: false }), {
    osImages: [`0x${"11".repeat(32)}`],
  });
  assert.deepEqual(
    change({}, { kind: "kms", value: HASH, isAllowed: true }, { kind: "kms-device", value: HASH, isAllowed: true }),
    { kms: { mrAggregated: [HASH], devices: [HASH] } },
  );
});

test("a new app starts with nothing allowed, and is found again by any spelling", () => {
  const one = change({}, { kind: "app", app: APP, isAllowed: true });
  assert.deepEqual(one, { apps: { [APP]: { composeHashes: [], devices: [] } } });
  const two = change(
    one,
    { kind: "compose", app: APP.toUpperCase().replace("0X", ""), value: HASH, isAllowed: true },
    { kind: "any-device", app: APP, isAllowed: true },
  );
  assert.deepEqual(two, { apps: { [APP]: { composeHashes: [HASH], devices: [], allowAnyDevice: true } } });
  assert.deepEqual(change(two, { kind: "app", app: APP, isAllowed: false }), { apps: {} });
});

test("an advisory is allowed and denied by its name, as it is written", () => {
  const one = change({}, { kind: "advisory", value: "INTEL-SA-00837", isAllowed: true });
  assert.deepEqual(one, { allowedAdvisoryIds: ["INTEL-SA-00837"] });
  assert.deepEqual(change(one, { kind: "advisory", value: "INTEL-SA-00837", isAllowed: true }), one);
  assert.deepEqual(change(one, { kind: "advisory", value: "intel-sa-00837", isAllowed: false }), one);
  assert.deepEqual(change(one, { kind: "advisory", value: "INTEL-SA-00837", isAllowed: false }), {
    allowedAdvisoryIds: [],
  });
});

test("a status is allowed beside the one that counts where the file says none, and that one can be denied", () => {
  assert.deepEqual(change({}, { kind: "status", value: "SWHardeningNeeded", isAllowed: true }), {
    allowedTcbStatuses: ["UpToDate", "SWHardeningNeeded"],
  });
  assert.deepEqual(change({}, { kind: "status", value: "UpToDate", isAllowed: false }), { allowedTcbStatuses: [] });
  assert.deepEqual(policyLines(diffDocuments({}, { allowedTcbStatuses: ["OutOfDate"], allowedAdvisoryIds: ["A"] })), [
    { sign: "+", path: "allowedAdvisoryIds", value: "A" },
    { sign: "-", path: "allowedTcbStatuses", value: "UpToDate" },
    { sign: "+", path: "allowedTcbStatuses", value: "OutOfDate" },
  ]);
  assert.deepEqual(diffDocuments({}, { allowedTcbStatuses: ["UpToDate"], allowedAdvisoryIds: [] }), []);
});

test("keys that are not ours stay as they are", () => {
  const text = JSON.stringify({
    note: "ours",
    kms: { allowAnyDevice: true, note: 1 },
    apps: { [APP]: { note: "x", composeHashes: [] } },
  });
  const changed = change(
    parsePolicyDocument(text),
    { kind: "compose", app: APP, value: HASH, isAllowed: true },
    { kind: "gateway", value: "gw" },
  );
  assert.deepEqual(changed, {
    note: "ours",
    kms: { allowAnyDevice: true, note: 1 },
    apps: { [APP]: { note: "x", composeHashes: [HASH] } },
    gatewayAppId: "gw",
  });
});

test("a diff tells absent from empty, and folds spelling and order", () => {
  const before = parsePolicyDocument(JSON.stringify({ osImages: [HASH, "AA"], kms: {}, apps: {} }));
  const after = parsePolicyDocument(
    JSON.stringify({
      osImages: ["0xaa", HASH.toUpperCase().replace("0X", "0x")],
      kms: { mrAggregated: [] },
      apps: { [APP]: { composeHashes: [HASH], allowAnyDevice: true } },
    }),
  );
  assert.deepEqual(
    policyLines(diffDocuments(before, after)).map(({ sign, path, value }) => `${sign} ${path} ${value}`),
    [
      `+ apps.${APP} (known)`,
      `+ apps.${APP}.allowAnyDevice true`,
      `+ apps.${APP}.composeHashes ${HASH}`,
      "+ kms.mrAggregated (empty)",
    ],
  );
  assert.deepEqual(diffDocuments(after, after), []);
});

test("refuses documents of another shape", () => {
  for (const text of ["", "{", "[]", '{"osImages":"x"}', '{"apps":{"0x1":{"devices":[1]}}}'])
    assert.throws(() => parsePolicyDocument(text), GovernanceError, text);
});
