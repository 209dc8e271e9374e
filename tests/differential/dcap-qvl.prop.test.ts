/**
 * Our verification against @phala/dcap-qvl, the reference's library in JavaScript, as an oracle. Where
 * they differ the table in differences.ts says why and the standard decides; what it does not explain
 * fails. DSTACK_DIFFERENTIAL=N compares N times as many cases.
 */
import assert from "node:assert/strict";
import { testAgreement } from "./agreement.ts";
import { differenceById } from "./differences.ts";
import { recordedTest } from "../vectors/vector-sets.ts";
import { realEvidence, syntheticEvidence } from "./recorded.ts";
import { agree, ours, theirs } from "./verdicts.ts";

testAgreement(11, Number(process.env["DSTACK_DIFFERENTIAL"] ?? "1"));

/** Recorded cases on which the libraries part, and by which row. */
const PARTED: Readonly<Record<string, string>> = {
  "pceid-mismatch": "pceid",
  "wrong-vendor": "vendor",
  "module1-out-of-date": "module-level",
  "module1-skips-svn01": "tdx-components",
  "qe-auth-empty": "qe-auth-length",
  "pck-crl-expired": "crl-time",
  "pck-crl-wrong-signer": "crl-signature",
  "seam-signer-mismatch": "module-identity",
  "levels-unsorted": "level-order",
  "intermediate-not-ca": "chain-authority",
};

recordedTest("agrees on every recorded quote", (set) => {
  for (const evidence of [...realEvidence(set), ...syntheticEvidence(set)]) {
    const mine = ours(evidence);
    const other = theirs(evidence);
    const row = PARTED[evidence.id];
    if (row === undefined) assert.ok(agree(mine, other), `${evidence.id}: ${JSON.stringify({ mine, other })}`);
    else
      assert.ok(
        !agree(mine, other) && differenceById(row).explains(mine, other),
        `${evidence.id}: ${JSON.stringify({ mine, other })}`,
      );
  }
});
