import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex } from "@dstack/bytes";
import { KEY_PROVIDER_KINDS, parseMrConfigV3 } from "@dstack/attest";
import { refuses } from "./fixtures.ts";

const hash = (byte: string): string => byte.repeat(32);
const least = { version: 3, compose_hash: hash("22"), key_provider: "kms" };
const most = {
  ...least,
  app_id: "11".repeat(20),
  gpu_policy_hash: hash("33"),
  key_provider_id: "3059",
  instance_id: "",
  init_script_hashes: Array(5).fill(hash("44")),
};

test("reads a launch document with the least and the most that it may say", () => {
  assert.deepEqual(parseMrConfigV3(JSON.stringify(least)), { composeHash: parseHex(hash("22")), keyProvider: "kms" });
  assert.deepEqual(parseMrConfigV3(JSON.stringify(most)), {
    composeHash: parseHex(hash("22")),
    keyProvider: "kms",
    appId: parseHex("11".repeat(20)),
    gpuPolicyHash: parseHex(hash("33")),
    keyProviderId: parseHex("3059"),
    instanceId: new Uint8Array(),
    initScriptHashes: Array(5).fill(parseHex(hash("44"))),
  });
  assert.deepEqual(KEY_PROVIDER_KINDS, ["none", "local", "kms", "tpm"], "their order is on the wire of version 2");
  for (const kind of KEY_PROVIDER_KINDS)
    assert.equal(parseMrConfigV3(JSON.stringify({ ...least, key_provider: kind })).keyProvider, kind);
  const { version: _version, ...unversioned } = least;
  assert.equal(parseMrConfigV3(JSON.stringify(unversioned)).keyProvider, "kms");
});

test("refuses launch documents of another form, with the member at fault", () => {
  const cases: readonly (readonly [RegExp, unknown])[] = [
    [/not valid JSON/, "{"],
    [/not an object/, "[]"],
    [/not an object/, "null"],
    [/not an object/, "5"],
    [/not an object/, '"x"'],
    [/unknown key extra/, { ...least, extra: 1 }],
    [/unknown key x{40}$/, { ...least, ["x".repeat(50)]: 1 }],
    [/version 2, expected 3/, { ...least, version: 2 }],
    [/version 3, expected 3/, { ...least, version: "3" }],
    [/key_provider is "x", expected none/, { ...least, key_provider: "x" }],
    [/key_provider is number, expected none/, { ...least, key_provider: 1 }],
    [/init_script_hashes is not a list/, { ...least, init_script_hashes: hash("44") }],
    [/init_script_hashes is not a list of at most 5/, { ...least, init_script_hashes: Array(6).fill(hash("44")) }],
    [/init_script_hashes is not a string/, { ...least, init_script_hashes: [1] }],
    [/init_script_hashes: expected 32 bytes, got 31/, { ...least, init_script_hashes: ["44".repeat(31)] }],
    [/compose_hash is not a string/, { version: 3, key_provider: "kms" }],
    [/compose_hash: expected 32 bytes, got 31/, { ...least, compose_hash: "22".repeat(31) }],
    [/compose_hash: not hexadecimal/, { ...least, compose_hash: "zz" }],
    [/app_id: expected 20 bytes, got 21/, { ...least, app_id: "11".repeat(21) }],
    [/gpu_policy_hash: expected 32 bytes, got 0/, { ...least, gpu_policy_hash: "" }],
    [/key_provider_id: odd number/, { ...least, key_provider_id: "1" }],
    [/instance_id is not a string/, { ...least, instance_id: null }],
  ];
  for (const [expected, value] of cases)
    assert.match(
      refuses("mr-config-malformed", () => parseMrConfigV3(typeof value === "string" ? value : JSON.stringify(value))),
      expected,
    );
});
