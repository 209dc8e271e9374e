import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { concatBytes, toHex, utf8 } from "@dstack/bytes";
import { checkGpuEvidence, readGpuLaunch, type AttestErrorCode, type RuntimeEvent } from "@dstack/attest";
import { event, refuses } from "./fixtures.ts";
import { recordedTest } from "../../../tests/vectors/vector-sets.ts";

const saved = utf8('{"result_code":0}\n');
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const good = {
  version: 2,
  provider: "nvidia",
  devices: 1,
  cc_mode: "on",
  devtools: false,
  evidence_sha256: sha256(saved),
};
const policy = event("gpu-policy-hash", new Uint8Array(32).fill(4));
const gpu = (payload: unknown = good): RuntimeEvent =>
  event("gpu-attestation", utf8(typeof payload === "string" ? payload : JSON.stringify(payload)));
const compose = event("compose-hash", new Uint8Array(32));
const script = event("init-script-hash", new Uint8Array(32));
const instance = event("instance-id");
const done = event("boot-mr-done");
const launch: readonly RuntimeEvent[] = [
  event("app-id", new Uint8Array(20)),
  compose,
  script,
  script,
  policy,
  gpu(),
  instance,
  done,
];

test("reads what a guest measured about its GPUs", () => {
  const read = readGpuLaunch(launch);
  assert.ok(read);
  assert.deepEqual(
    [read.devices, read.devtools, toHex(read.evidenceSha256), read.policyHash],
    [1, false, sha256(saved), policy.payload],
  );
  assert.equal(readGpuLaunch([compose, instance, done]), undefined);
  assert.equal(readGpuLaunch([compose, policy, instance, done]), undefined, "a policy, and no GPU");
  assert.equal(
    readGpuLaunch([compose, event("system-ready"), policy, gpu(), gpu()]),
    undefined,
    "look-alikes of the application",
  );
  assert.equal(readGpuLaunch([instance, compose]), undefined, "without GPUs the order is another's matter");
  assert.equal(readGpuLaunch([policy, gpu({ ...good, devices: 64, devtools: true })])?.devices, 64);
});

test("refuses GPU events out of order, twice, or without the policy", () => {
  const cases: readonly (readonly [string, AttestErrorCode, readonly RuntimeEvent[]])[] = [
    ["attestation before policy", "event-order", [compose, gpu(), policy, instance]],
    ["after the instance id", "event-order", [compose, policy, instance, gpu()]],
    ["after boot-mr-done", "event-order", [compose, policy, instance, done, gpu()]],
    ["policy before a script", "event-order", [compose, policy, script, gpu()]],
    ["before the compose hash", "event-order", [policy, gpu(), compose]],
    ["after boot-mr-done, without instance id", "event-order", [compose, done, policy, gpu()]],
    ["a policy alone, too late", "event-order", [compose, instance, policy]],
    ["attestation twice", "event-duplicate", [compose, policy, gpu(), gpu()]],
    ["policy twice", "event-duplicate", [compose, policy, policy, gpu()]],
    ["compose hash twice", "event-duplicate", [compose, compose, policy, gpu()]],
    ["no policy", "event-missing", [compose, gpu(), instance]],
    ["a policy hash of 31 bytes", "event-invalid", [compose, event("gpu-policy-hash", new Uint8Array(31)), gpu()]],
  ];
  for (const [name, code, events] of cases) refuses(code, () => readGpuLaunch(events), name);
});

test("refuses a GPU event that is not exactly what the format says", () => {
  const text = JSON.stringify(good);
  const { devtools: _devtools, ...without } = good;
  const bad: readonly (readonly [string, unknown])[] = [
    ["version 1, expected 2", { ...good, version: 1 }],
    ['provider "amd", expected "nvidia"', { ...good, provider: "amd" }],
    ['cc_mode "off", expected "on"', { ...good, cc_mode: "off" }],
    ["devices 0, expected 1 to 64", { ...good, devices: 0 }],
    ["devices 65,", { ...good, devices: 65 }],
    ["devices 1.5,", { ...good, devices: 1.5 }],
    ['devices "1",', { ...good, devices: "1" }],
    ['devtools "no", expected true or false', { ...good, devtools: "no" }],
    ["evidence_sha256 .*lower-case", { ...good, evidence_sha256: good.evidence_sha256.toUpperCase() }],
    ["evidence_sha256", { ...good, evidence_sha256: good.evidence_sha256.slice(1) }],
    ["evidence_sha256", { ...good, evidence_sha256: `0${good.evidence_sha256}` }],
    ["evidence_sha256", { ...good, evidence_sha256: `${good.evidence_sha256}0` }],
    ["evidence_sha256", { ...good, evidence_sha256: [good.evidence_sha256] }],
    ["evidence_sha256 1,", { ...good, evidence_sha256: 1 }],
    ["keys version, provider, devices, cc_mode, evidence_sha256; expected", without],
    ["keys .*more; expected version, provider", { ...good, more: 1 }],
    ["keys", { ...without, more: 1 }],
    ["not a JSON object", []],
    ["not a JSON object", "null"],
    ["not a JSON object", "5"],
    ["not JSON text", "{"],
    ["compact", `${text} `],
    ["compact", text.replace(":", ": ")],
    ["compact", text.replace("{", '{"version":2,')],
    ["4097 bytes, limit 4096", `{"x":"${"x".repeat(4097 - 8)}"}`],
    ["keys x; expected", `{"x":"${"x".repeat(4096 - 8)}"}`],
  ];
  for (const [expected, payload] of bad)
    assert.match(
      refuses("event-invalid", () => readGpuLaunch([policy, gpu(payload)]), JSON.stringify(payload)),
      new RegExp(expected),
    );
  assert.ok(
    refuses("event-invalid", () => readGpuLaunch([policy, gpu({ ...good, provider: "x".repeat(4000) })])).length < 200,
    "what came is shown in part",
  );
  assert.match(
    refuses("event-invalid", () => readGpuLaunch([policy, event("gpu-attestation", Uint8Array.of(0x22, 0xff, 0x22))])),
    /not JSON text/,
  );
});

// The digest covers the output byte for byte: a space more is another output.
test("takes the saved output only as it was measured", () => {
  const read = readGpuLaunch(launch)!;
  checkGpuEvidence(read, saved);
  for (const other of [saved.subarray(0, -1), concatBytes(saved, utf8(" ")), utf8(""), utf8('{"result_code": 0}\n')]) {
    assert.match(
      refuses("gpu-evidence-mismatch", () => checkGpuEvidence(read, other)),
      /measured at launch/,
    );
  }
});

recordedTest("takes the recorded output of a real GPU by its digest", ({ bytes }) => {
  const output = bytes("attestation/gpu/gpu_attestation_h100.json");
  const read = readGpuLaunch([policy, gpu({ ...good, evidence_sha256: sha256(output) })])!;
  checkGpuEvidence(read, output);
  refuses("gpu-evidence-mismatch", () => checkGpuEvidence(read, output.subarray(1)));
});
