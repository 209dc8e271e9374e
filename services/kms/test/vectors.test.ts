import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { create, fromBinary, toBinary, type DescMessage } from "@bufbuild/protobuf";
import { appId, instanceId, parseHex, toHex } from "@dstack/bytes";
import type { AppInfo } from "@dstack/attest";
import { p256FromScalar, spkiDer } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { errorResponse, messageFromJson, messageToJson } from "@dstack/rpc";
import { appCaOf } from "../src/release/sign-certificate.ts";
import { createRootCa } from "../src/certificates/kms-certificates.ts";
import type { KeyStore } from "../src/keys/key-store.ts";
import { deriveAppKeys } from "../src/release/app-keys.ts";
import { recordedTest, vectorTest } from "../../../tests/vectors/vector-sets.ts";

const REPOSITORY = resolve(import.meta.dirname, "../../..");

interface Usage {
  readonly files: RegExp;
  /** The test that reads them, and the words by which it does. */
  readonly test: string;
  readonly words: string;
}

const USED: readonly Usage[] = [
  { files: /^kms\/prpc-vectors\.json$/, test: "services/kms/test/vectors.test.ts", words: "prpc-vectors.json" },
  { files: /^kms\/csr-scale-vectors\.json$/, test: "libs/ratls/test/csr.test.ts", words: "csr-scale-vectors.json" },
  {
    files: /^kms\/env-pubkey-signatures\.json$/,
    test: "libs/keys/test/keys.test.ts",
    words: "env-pubkey-signatures.json",
  },
  {
    files: /^kms\/simulator-appkeys\.json$/,
    test: "libs/ratls/test/certificate-builder.test.ts",
    words: "simulator-appkeys.json",
  },
  {
    files: /^kms\/auth-simple-cases\.json$/,
    test: "services/auth-simple/test/webhook.int.test.ts",
    words: "auth-simple-cases.json",
  },
  {
    files: /^kms\/auth-eth-cases\.json$/,
    test: "services/auth-eth/test/auth-eth.int.test.ts",
    words: "auth-eth-cases.json",
  },
  { files: /^kms\/contract-abi\.json$/, test: "contracts/test/contracts.int.test.ts", words: "contract-abi.json" },
  {
    files: /^attestation\/vectors\.json$/,
    test: "libs/attest/test/vectors.test.ts",
    words: '"attestation/vectors.json"',
  },
  {
    files: /^attestation\/(pairs\.json|quotes\/.*|collateral\/.*|intel-sgx-root-ca\.pem)$/,
    test: "libs/attest/test/verify-quote.test.ts",
    words: "pairs.json",
  },
  { files: /^attestation\/synthetic\//, test: "libs/attest/test/verify-quote.test.ts", words: "synthetic" },
  { files: /^attestation\/acpi\//, test: "libs/measure/test/recorded.test.ts", words: "acpi.json" },
  { files: /^attestation\/cvm\//, test: "libs/measure/test/recorded.test.ts", words: "cvm" },
  { files: /^attestation\/ccel\//, test: "libs/measure/test/ccel.test.ts", words: "ccel.expected.json" },
  { files: /^attestation\/simulator\//, test: "libs/attest/test/vectors.test.ts", words: "simulator/attestation.bin" },
  { files: /^attestation\/verifier\//, test: "libs/attest/test/vectors.test.ts", words: "quote-report.json" },
  {
    files: /^attestation\/(nitro|snp)\//,
    test: "libs/attest/test/attestation-forms.test.ts",
    words: "nitro_attestation.bin",
  },
  {
    files: /^attestation\/gpu\//,
    test: "libs/attest/test/attestation-forms.test.ts",
    words: "gpu_attestation_h100.json",
  },
  {
    files: /^attestation\/rust\/(lite-events-.*\.hex|collateral\.json|tdx-root-ca\.pem)$/,
    test: "libs/attest/test/lite-evidence.test.ts",
    words: "lite-events-v2",
  },
  {
    files: /^attestation\/rust\/ra-events-.*\.pem$/,
    test: "libs/ratls/test/recorded-certificates.test.ts",
    words: "ra-events-v",
  },
];
const EXCUSED: Readonly<Record<string, string>> = {
  "kms/auth-config.example.json": "a sample with placeholders: it is loaded by hand, and denies everybody",
  "kms/auth-eth-bun.openapi.json": "describes a webhook server, not its client",
  "kms/dstack-auth-cases.json": "cases of a webhook server, not of its client",
  "kms/openzeppelin-unknown-2035.json": "a record of one deployment of the contracts",
};

recordedTest("every recorded vector of KMS and attestation is read by a test, or excused by name", (set) => {
  const files = [...set.files("kms"), ...set.files("attestation")].filter((file) => !file.endsWith("README.md"));
  const unused = files.filter((file) => EXCUSED[file] === undefined && !USED.some((usage) => usage.files.test(file)));
  assert.deepEqual(unused, []);
  for (const usage of USED) {
    assert.ok(
      files.some((file) => usage.files.test(file)),
      `no vector matches ${usage.files}`,
    );
    assert.ok(
      readFileSync(join(REPOSITORY, usage.test), "utf8").includes(usage.words),
      `${usage.test} does not read ${usage.words}`,
    );
  }
  for (const file of Object.keys(EXCUSED)) assert.ok(files.includes(file), `${file} is excused and does not exist`);
});

interface MessageVector {
  readonly message: string;
  readonly json: unknown;
  readonly json_accepted_also?: readonly unknown[];
  readonly json_text?: string;
  readonly binary: string;
}

vectorTest(
  "messages have the bytes and the JSON of the vectors, both ways",
  "kms/prpc-vectors.json",
  ({ json: read }) => {
    const { vectors } = read<{ readonly vectors: readonly MessageVector[] }>("kms/prpc-vectors.json");
    const schemas: ReadonlyMap<string, DescMessage> = new Map(
      Object.values(kms).flatMap((value) =>
        "kind" in value && value.kind === "message" ? [[value.typeName, value]] : [],
      ),
    );
    let compared = 0;
    for (const vector of vectors) {
      if (vector.message === "prpc error body") {
        assert.equal(
          Buffer.from(errorResponse(400, "Service not found: Nope", true).body).toString(),
          vector.json_text,
        );
        assert.equal(toHex(errorResponse(400, "Service not found: Nope", false).body), vector.binary);
        continue;
      }
      const schema =
        vector.message === "google.protobuf.Empty" ? kms.KMS.method.getMeta.input : schemas.get(vector.message);
      assert.ok(schema !== undefined, vector.message);
      const binary = parseHex(vector.binary);
      assert.deepEqual(messageToJson(schema, fromBinary(schema, binary)), vector.json, vector.message);
      for (const json of [vector.json, ...(vector.json_accepted_also ?? [])])
        assert.equal(
          toHex(toBinary(schema, json === null ? create(schema) : messageFromJson(schema, json))),
          vector.binary,
          vector.message,
        );
      compared++;
    }
    assert.equal(compared, vectors.length - 1);
  },
);

test("an app gets the keys of the published root, app and instance", () => {
  const key = p256FromScalar(parseHex("f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1"));
  const rootCa = createRootCa(key, 1_700_000_000);
  const roots = { rootCa, rootK256: parseHex("42".repeat(32)) } as unknown as KeyStore;
  const app = appId(parseHex("11".repeat(20)));
  const keysOf = (instance: string) => {
    const { diskCryptKey, envCryptKey, k256Key, k256Signature } = deriveAppKeys(roots, {
      appId: app,
      instanceId: instanceId(parseHex(instance)),
    } as unknown as AppInfo);
    return [diskCryptKey, envCryptKey, k256Key, k256Signature].map(toHex);
  };
  const rest = [
    "a7470db8cfdd0fe24134b461d60766afa7c078abe6dce9f2c8a5c44034ca400e",
    "dae157edc7e9c0c5494a68c940bd24790d019fb47cd0bb22dc828409a0d47579",
    "a93bc01ddc35701822022186d4b29d041fd964fa9ce068aeeefc1068cb3a7e87638d29d9a7e364588bfd27cff33eecc25397b3856e142e224dc8686eef6bb6a501",
  ];
  assert.deepEqual(keysOf("22".repeat(20)), [
    "a59c814e2c6d9353af59ce4fba7215e5ec3b62a2495b4dca48ea6f9804061f51",
    ...rest,
  ]);
  assert.deepEqual(keysOf(""), ["14de7a7fd8bddf8e641a55ca97f043cac4344d175419f743940840f3a348f049", ...rest]);
  assert.equal(
    toHex(spkiDer(appCaOf(rootCa, app, 1_700_000_000).key)),
    "3059301306072a8648ce3d020106082a8648ce3d030107034200040526af58f573724a2933a2b53506caa20343e6b98573fd89e32eee820eb5958fe4797ce498fe8b86f114debf18daaf5e650ab48cec14927e95e71fac13af7697",
  );
});
