import assert from "node:assert/strict";
import { test } from "node:test";
import { hash48, reportData, toHex } from "@dstack/bytes";
import { intelTrustAnchor, parseQuote, tdReportOf, trustAnchorFromPem } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { mockCollateral, mockKey, mockPki, parseSeed, signMockQuote, SimulatorError } from "@dstack/tee-simulator";
import type { MockKeyLabel } from "@dstack/tee-simulator";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const now = Date.UTC(2030, 5, 15) / 1000;
const pki = mockPki(parseSeed("31".repeat(32)));
const register = (byte: number) => hash48(new Uint8Array(48).fill(byte));
const td = {
  mrTd: register(1),
  rtmr: [register(2), register(3), register(4), register(5)],
  mrConfigId: register(6),
} as const;
const data = reportData(new Uint8Array(64).fill(7));
const quote = signMockQuote(pki, td, data);

vectorTest("derives the keys of the mock PKI as the vectors say", "attestation/vectors.json", ({ json }) => {
  const labels: readonly string[] = ["tdx-root", "tdx-pck-ca", "tdx-pck", "tdx-tcb", "tdx-qe"];
  const { mock_keys: keys } = json<{
    mock_keys: { seed: string; label: string; private: string; public: string }[];
  }>("attestation/vectors.json");
  let compared = 0;
  for (const { seed, label, ...expected } of keys.filter((key) => labels.includes(key.label))) {
    const key = mockKey(parseSeed(seed), label as MockKeyLabel);
    assert.equal(toHex(key.scalar), expected.private);
    assert.equal(toHex(key.publicPoint), expected.public);
    compared++;
  }
  assert.ok(compared >= 5);
});

test("signs quotes that verify under the mock root and say what was measured", () => {
  const verification = verifyQuote(quote, mockCollateral(pki, now), {
    now,
    trustAnchor: trustAnchorFromPem(pki.rootPem),
  });
  assert.ok(verification.ok, verification.ok ? "" : verification.reason);
  assert.equal(verification.status, "UpToDate");
  assert.equal(verification.trustAnchor, "external");
  assert.deepEqual(verification.ppid, new Uint8Array(16));
  const report = tdReportOf(parseQuote(quote));
  assert.deepEqual(
    [report.mrTd, report.rtmr, report.mrConfigId, report.reportData],
    [td.mrTd, td.rtmr, td.mrConfigId, data],
  );
});

test("signs quotes that do not verify under Intel's root or the root of another seed", () => {
  for (const trustAnchor of [intelTrustAnchor(), trustAnchorFromPem(mockPki(parseSeed("00".repeat(32))).rootPem)]) {
    assert.equal(verifyQuote(quote, mockCollateral(pki, now), { now, trustAnchor }).ok, false);
  }
});

test("makes the same certificates from the same seed", () => {
  assert.equal(mockPki(parseSeed("31".repeat(32))).rootPem, pki.rootPem);
});

test("refuses a seed of another length without repeating it", () => {
  assert.throws(
    () => parseSeed("31".repeat(31)),
    (error: unknown) =>
      error instanceof SimulatorError && error.code === "seed-invalid" && !error.message.includes("3131"),
  );
});
