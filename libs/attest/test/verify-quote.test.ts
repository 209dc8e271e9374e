import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex, toHex } from "@dstack/bytes";
import { collateralFromJson, intelTrustAnchor, trustAnchorFromPem } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { skip, vectorBytes, vectorJson, vectorNames } from "./vectors.ts";

interface Expectation {
  readonly ok: boolean;
  readonly status?: string;
  readonly advisory_ids?: string[];
  readonly platform_status?: string;
  readonly qe_status?: string;
  readonly tcb_date?: string;
  readonly fmspc?: string;
  readonly ppid?: string;
  readonly reject_step?: string;
}

interface Pair {
  readonly id: string;
  readonly quote: string;
  readonly collateral: string;
  readonly verify_at_unix: number;
  readonly expect: Expectation;
}

interface Synthetic {
  readonly id: string;
  readonly expect: Expectation;
  readonly root_ca_pem: string;
  readonly quote_hex: string;
  readonly collateral: unknown;
  readonly verify_at_unix: number;
}

/** The check that must refuse each recorded defect. */
const REFUSED_BY: Readonly<Record<string, string>> = {
  "service-td": "service-td",
  "tcb-level (none matches)": "tcb-level",
  "td-attributes": "td-attributes",
  "chain": "pck-chain",
  "tcb-revoked": "tcb-status",
  "pceid": "platform-identity",
  "pck-crl-expired": "collateral-fresh",
  "pck-crl-signature": "pck-crl",
  "chain-validity": "pck-chain",
  "pck-revoked": "pck-chain",
  "qe-auth-hash": "attestation-key",
  "qe-identity": "qe-measurement",
  "quote-signature": "quote-signature",
  "tdx-module-identity": "tdx-module",
  "tcb-info-signature": "tcb-info",
  "tcb-info-expired": "collateral-fresh",
  "tcb-signer-revoked": "tcb-info",
  "header": "quote-header",
};

test("judges every real pair of quote and collateral as recorded", { skip }, async (t) => {
  for (const pair of vectorJson<Pair[]>("pairs.json")) {
    await t.test(pair.id, () => {
      const verification = verifyQuote(vectorBytes(pair.quote), collateralFromJson(vectorJson(pair.collateral)), {
        now: pair.verify_at_unix, trustAnchor: intelTrustAnchor(),
      });
      expectation(verification, pair.expect);
    });
  }
});

// DS #0b, CVE-2026-22696, DS #1140: expired, revoked, wrongly signed and mismatched material is refused.
test("judges every synthetic case as recorded", { skip }, async (t) => {
  for (const name of vectorNames("synthetic")) {
    const synthetic = vectorJson<Synthetic>(`synthetic/${name}`);
    await t.test(synthetic.id, () => {
      const verification = verifyQuote(parseHex(synthetic.quote_hex), collateralFromJson(synthetic.collateral), {
        now: synthetic.verify_at_unix, trustAnchor: trustAnchorFromPem(synthetic.root_ca_pem),
      });
      expectation(verification, synthetic.expect);
    });
  }
});

function expectation(verification: ReturnType<typeof verifyQuote>, expect: Expectation): void {
  assert.equal(verification.ok, expect.ok, verification.ok ? "accepted" : verification.reason);
  if (!verification.ok) {
    const by = REFUSED_BY[expect.reject_step ?? ""];
    assert.ok(by !== undefined, `no check for ${expect.reject_step}`);
    assert.equal(verification.checks.find((check) => check.name === by)?.result, "fail", verification.reason);
    return;
  }
  assert.equal(verification.status, expect.status);
  assert.deepEqual(verification.advisoryIds, expect.advisory_ids);
  if (expect.platform_status !== undefined) assert.equal(verification.platformStatus, expect.platform_status);
  if (expect.qe_status !== undefined) assert.equal(verification.qeStatus, expect.qe_status);
  if (expect.tcb_date !== undefined) assert.equal(verification.tcbDate, expect.tcb_date);
  if (expect.fmspc !== undefined) assert.equal(toHex(verification.fmspc), expect.fmspc);
  if (expect.ppid !== undefined) assert.equal(toHex(verification.ppid), expect.ppid);
}
