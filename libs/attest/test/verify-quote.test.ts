import assert from "node:assert/strict";
import { parseHex, toHex } from "@dstack/bytes";
import { collateralFromJson, intelTrustAnchor, parseQuote, trustAnchorFromPem } from "@dstack/attest";
import { checkCollateral, verifyQuote } from "@dstack/attest/node";
import { recordedTest } from "../../../tests/vectors/vector-sets.ts";

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
  /** What the reference's own rules come to, where that is something else. */
  readonly reference?: { readonly ok: boolean; readonly status?: string };
}

interface Pair {
  readonly id: string;
  readonly quote: string;
  readonly collateral: string;
  readonly verify_at_unix: number;
  /** RFC 3339: the first and the last second at which the pair verifies. */
  readonly valid_from: string;
  readonly valid_until: string;
  readonly decoded: Readonly<Record<string, unknown>>;
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
  chain: "pck-chain",
  "tcb-revoked": "tcb-status",
  pceid: "platform-identity",
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
  header: "quote-header",
};

recordedTest("judges every real pair of quote and collateral as recorded", async ({ bytes, json }, t) => {
  for (const pair of json<Pair[]>("attestation/pairs.json")) {
    await t.test(pair.id, () => {
      const verification = verifyQuote(
        bytes(`attestation/${pair.quote}`),
        collateralFromJson(json(`attestation/${pair.collateral}`)),
        {
          now: pair.verify_at_unix,
          trustAnchor: intelTrustAnchor(),
        },
      );
      expectation(verification, pair.expect);
    });
  }
});

recordedTest(
  "judges every real pair alike from the first to the last second of its window, and never outside",
  ({ bytes, json }) => {
    for (const pair of json<Pair[]>("attestation/pairs.json")) {
      const collateral = checkCollateral(
        collateralFromJson(json(`attestation/${pair.collateral}`)),
        intelTrustAnchor(),
      );
      const at = (time: number): ReturnType<typeof verifyQuote> =>
        verifyQuote(bytes(`attestation/${pair.quote}`), collateral, { now: time, trustAnchor: intelTrustAnchor() });
      const [from, until] = [Date.parse(pair.valid_from) / 1000, Date.parse(pair.valid_until) / 1000];
      for (const time of [from, until]) expectation(at(time), pair.expect);
      for (const time of [from - 1, until + 1]) {
        const codes = at(time).checks.map(({ code }) => code);
        assert.ok(
          codes.includes(time < from ? "collateral-not-yet-valid" : "collateral-expired"),
          `${pair.id} at ${time}`,
        );
      }
      const inside = at(from);
      if (inside.ok) assert.equal(inside.goodUntil, until, pair.id);
    }
  },
);

recordedTest("knows Intel's root in a file for what it is", ({ text }) => {
  assert.deepEqual(trustAnchorFromPem(text("attestation/intel-sgx-root-ca.pem")), intelTrustAnchor());
  assert.equal(intelTrustAnchor().crlUrl, "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der");
});

recordedTest("reads every field of the real quotes as recorded", ({ bytes, json }) => {
  for (const { id, quote: file, decoded } of json<Pair[]>("attestation/pairs.json")) {
    const { header, body, qeAuthData, certification } = parseQuote(bytes(`attestation/${file}`));
    const read: Record<string, unknown> = {
      version: header.version,
      tee: header.tee.toUpperCase(),
      qe_svn: header.qeSvn,
      pce_svn: header.pceSvn,
      user_data: toHex(header.userData),
      auth_len: qeAuthData.length,
      cert_type: certification.kind === "pem-chain" ? 5 : undefined,
      report_data: toHex(body.reportData),
      ...(body.kind === "tdx"
        ? {
            tee_tcb_svn: toHex(body.teeTcbSvn),
            mr_seam: toHex(body.mrSeam),
            td_attributes: toHex(body.tdAttributes),
            xfam: toHex(body.xfam),
            mr_td: toHex(body.mrTd),
            mr_config_id: toHex(body.mrConfigId),
            rtmr: body.rtmr.map(toHex),
          }
        : {
            mr_enclave: toHex(body.mrEnclave),
            mr_signer: toHex(body.mrSigner),
            isv_prod_id: body.isvProdId,
            isv_svn: body.isvSvn,
          }),
    };
    const recorded = Object.keys(read).filter((name) => decoded[name] !== undefined);
    assert.ok(recorded.length >= 8, id);
    for (const name of recorded) assert.deepEqual(read[name], decoded[name], `${id} ${name}`);
  }
});

recordedTest(
  "comes to the reference's status under the reference's rules, which change nothing else",
  ({ json, names }) => {
    let compared = 0;
    for (const name of names("attestation/synthetic")) {
      const {
        id,
        expect,
        quote_hex: quote,
        collateral,
        verify_at_unix: now,
        root_ca_pem: root,
      } = json<Synthetic>(`attestation/synthetic/${name}`);
      const options = { now, trustAnchor: trustAnchorFromPem(root) };
      const reference = verifyQuote(parseHex(quote), collateralFromJson(collateral), {
        ...options,
        tcbRules: "reference",
      });
      const intel = verifyQuote(parseHex(quote), collateralFromJson(collateral), options);
      assert.deepEqual(
        reference.checks.map((check) => [check.name, check.result]),
        intel.checks.map((check) => [check.name, check.result]),
        id,
      );
      if (expect.reference?.status === undefined || !expect.ok) continue;
      compared++;
      assert.equal(reference.ok && reference.status, expect.reference.status, id);
    }
    assert.ok(compared > 0);
  },
);

// DS #0b, CVE-2026-22696, DS #1140: expired, revoked, wrongly signed and mismatched material is refused.
recordedTest("judges every synthetic case as recorded", async ({ json, names }, t) => {
  for (const name of names("attestation/synthetic")) {
    const synthetic = json<Synthetic>(`attestation/synthetic/${name}`);
    await t.test(synthetic.id, () => {
      const verification = verifyQuote(parseHex(synthetic.quote_hex), collateralFromJson(synthetic.collateral), {
        now: synthetic.verify_at_unix,
        trustAnchor: trustAnchorFromPem(synthetic.root_ca_pem),
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
