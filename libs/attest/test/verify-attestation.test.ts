import assert from "node:assert/strict";
import { test } from "node:test";
import { AttestError, intelTrustAnchor, type QuoteCollateral } from "@dstack/attest";
import { verifyAttestation, type CollateralSource } from "@dstack/attest/node";
import { DerError } from "@dstack/der";
import { BytesError } from "@dstack/bytes";
import { attestationOf, boot } from "./fixtures.ts";

const options = { now: 1_900_000_000, trustAnchor: intelTrustAnchor() };
const failing = (error: Error): CollateralSource => ({ collateralFor: () => Promise.reject(error) });

test("refuses a quote that cannot be read before it asks anybody for collateral", async () => {
  const attestation = {
    ...attestationOf(boot),
    platform: { kind: "tdx" as const, quote: Uint8Array.of(4, 0), eventLog: [] },
  };
  const result = await verifyAttestation(attestation, { ...options, collateralSource: failing(new Error("asked")) });
  assert.deepEqual(
    result.checks.map(({ name, result: outcome, code }) => [name, outcome, code]),
    [["quote-format", "fail", "quote-malformed"]],
  );
  assert.match(result.ok ? "" : result.reason, /^quote-format: quote: /);
});

test("gives the reason where collateral cannot be had or read, and passes a fault of the source on", async () => {
  for (const [error, code] of [
    [new AttestError("collateral-unavailable", "gone"), "collateral-unavailable"],
    [new DerError("truncated", "gone"), "truncated"],
    [new BytesError("hex-invalid", "gone"), "hex-invalid"],
  ] as const) {
    const result = await verifyAttestation(attestationOf(boot), { ...options, collateralSource: failing(error) });
    assert.deepEqual(result.ok ? "" : [result.reason, result.checks.length, result.checks[0]?.code], [
      "collateral: gone",
      1,
      code,
    ]);
  }
  await assert.rejects(
    verifyAttestation(attestationOf(boot), { ...options, collateralSource: failing(new TypeError("a bug")) }),
    TypeError,
  );
});

test("asks for the collateral of the quote at hand, and hands the signal on", async () => {
  const { signal } = new AbortController();
  let asked: readonly unknown[] = [];
  const collateralSource: CollateralSource = {
    collateralFor: (quote, given) => {
      asked = [quote.header.version, given];
      return Promise.resolve({} as QuoteCollateral);
    },
  };
  await verifyAttestation(attestationOf(boot), { ...options, collateralSource, signal }).catch(() => undefined);
  assert.deepEqual(asked, [4, signal]);
});
