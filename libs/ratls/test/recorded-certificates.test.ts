/** Certificates with evidence that other implementations made: each is read, and its evidence is bound to its key. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { collateralFromJson, trustAnchorFromPem } from "@dstack/attest";
import { fixedCollateral, verifyAttestation } from "@dstack/attest/node";
import { verifyPeer, type EvidenceVerifier } from "@dstack/ratls";
import { recordedVectors } from "../../../tests/vectors/vector-sets.ts";

if (recordedVectors !== undefined) {
  const { text } = recordedVectors;
  const folder = "attestation/rust";
  const now = Date.parse("2026-11-30T00:00:00Z") / 1000;
  const verifyEvidence: EvidenceVerifier = async (attestation, expectedReportData) => {
    const result = await verifyAttestation(attestation, {
      now,
      expectedReportData,
      trustAnchor: trustAnchorFromPem(text(`${folder}/tdx-root-ca.pem`)),
      collateralSource: fixedCollateral(collateralFromJson(JSON.parse(text(`${folder}/collateral.json`)))),
    });
    assert.ok(result.ok, result.ok ? "" : result.reason);
  };
  const check = (der: Uint8Array) =>
    verifyPeer([der], { peer: { kind: "attested" }, roots: "evidence-only", end: "server", now, verifyEvidence });

  const certificate = (version: number) => new X509Certificate(text(`${folder}/ra-events-v${version}.pem`));
  const point = ({ publicKey }: X509Certificate) => publicKey.export({ type: "spki", format: "der" }).subarray(-65);

  for (const version of [1, 2]) {
    test(`verifies a recorded certificate with boot events of version ${version}`, async () => {
      const { attestation } = await check(new Uint8Array(certificate(version).raw));
      assert.equal(attestation?.runtimeEvents.at(-1)?.version ?? 1, version);
    });
  }

  test("refuses recorded evidence under the key of another certificate", async () => {
    const [own, other] = [certificate(1), certificate(2)];
    const swapped = new Uint8Array(own.raw);
    const at = own.raw.indexOf(point(own));
    assert.ok(at > 0);
    swapped.set(point(other), at);
    await assert.rejects(check(swapped), /report-data/);
  });
}
