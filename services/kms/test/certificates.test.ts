import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex, reportData } from "@dstack/bytes";
import { generateP256 } from "@dstack/keys";
import { parseCertificates, readDstackExtensions } from "@dstack/ratls";
import { createRootCa, createRpcCertificate } from "../src/certificates/kms-certificates.ts";
import { fakeAttest } from "./setup-service.ts";

const NOW = 1_764_000_000;

test("evidence stands in a certificate once where no reader of 0.5.5 is left, and twice unless that is said", async () => {
  const attestation = await fakeAttest(reportData(new Uint8Array(64)));
  const options = { rootCa: createRootCa(generateP256(), NOW), rpcKey: generateP256(), domain: "kms", now: NOW };
  // 1.3.6.1.4.1.62397.1.1 and .2: the quote and the event log of 0.5.5.
  const older = ["01", "02"].map((last) => Buffer.from(parseHex(`060a2b0601040183e73d01${last}`)));
  for (const [olderForm, expected] of [
    [undefined, [true, true]],
    [true, [true, true]],
    [false, [false, false]],
  ] as const) {
    const { pem } = createRpcCertificate({
      ...options,
      attestation,
      ...(olderForm === undefined ? {} : { olderForm }),
    });
    const [certificate] = parseCertificates(pem);
    const bytes = Buffer.from(certificate!.raw);
    assert.deepEqual(
      older.map((oid) => bytes.includes(oid)),
      expected,
    );
    assert.deepEqual(readDstackExtensions(certificate!.raw).attestation?.reportData, attestation.reportData);
  }
});
