import type { Verdict } from "./verdicts.ts";

/**
 * Where we differ from the other library, and why each of these is right: the rule stands in Intel's
 * DCAP library and PCK certificate specification or in RFC 5280. A difference that no row explains
 * fails the test.
 */
export interface Difference {
  readonly id: string;
  readonly why: string;
  readonly explains: (ours: Verdict, theirs: Verdict) => boolean;
}

/** We refuse at one of these checks what they accept. */
const stricter =
  (...checks: readonly string[]) =>
  (mine: Verdict, other: Verdict): boolean =>
    !mine.ok && other.ok && mine.reasons.some((reason) => checks.includes(reason));

/** They refuse, with a text like this, what we accept. */
const laxer =
  (text: RegExp) =>
  (mine: Verdict, other: Verdict): boolean =>
    mine.ok && !other.ok && text.test(other.reasons.join(" "));

const bothAccept = (mine: Verdict, other: Verdict): boolean => mine.ok && other.ok;

export const DIFFERENCES: readonly Difference[] = [
  {
    id: "pceid",
    why: "TCB info is of one PCEID as well as one FMSPC; they compare only the FMSPC",
    explains: stricter("platform-identity"),
  },
  {
    id: "vendor",
    why: "only Intel's quoting enclave has a QE identity to compare with; they do not look at the vendor id",
    explains: stricter("quote-header"),
  },
  {
    id: "qe-report-data",
    why: "the last 32 bytes of the QE's report data are zero in what Intel's enclave makes; they compare the first 32 only",
    explains: stricter("attestation-key"),
  },
  {
    id: "perfmon",
    why: "only SEPT_VE_DISABLE, PKS and KL are attributes that a guest of ours may have; they let bit 63 pass, which lets the TD use performance counters",
    explains: stricter("td-attributes"),
  },
  {
    id: "module-identity",
    why: "the TDX module's signer, attributes and level are part of the TCB; they do not evaluate module identities",
    explains: stricter("tdx-module", "tcb-status"),
  },
  {
    id: "module-level",
    why: "the level of the TDX module counts into status and advisories; they do not evaluate it",
    explains: bothAccept,
  },
  {
    id: "tdx-components",
    why: "from TDX module version 1 on, components 0 and 1 of TEE_TCB_SVN belong to the module identity; they compare them with the platform's levels",
    explains: (mine, other) => bothAccept(mine, other) || laxer(/No matching TCB level/)(mine, other),
  },
  {
    id: "merge",
    why: "ConfigurationNeeded merged with OutOfDate is OutOfDateConfigurationNeeded; they take the higher rank",
    explains: bothAccept,
  },
  {
    id: "level-order",
    why: "levels are matched from the highest, whatever the order in the document; they go by the order of the document",
    explains: (mine, other) =>
      bothAccept(mine, other) || laxer(/status is invalid/)(mine, other) || stricter("tcb-status")(mine, other),
  },
  {
    id: "qe-level-order",
    why: "the same for the levels of the QE identity",
    explains: (mine, other) =>
      bothAccept(mine, other) || laxer(/status is invalid/)(mine, other) || stricter("tcb-status")(mine, other),
  },
  {
    id: "qe-auth-length",
    why: "QE authentication data has any length; they hash 32 bytes always",
    explains: laxer(/QE report hash mismatch|offset|range|QE auth/i),
  },
  {
    id: "crl-signature",
    why: "a revocation list counts only when its issuer signed it; they do not verify lists",
    explains: stricter("root-crl", "pck-crl", "collateral-format"),
  },
  {
    id: "crl-issuer",
    why: "a list is compared by issuer, and an issuer without a list cannot be trusted; they look for the serial number in any list at hand",
    explains: stricter("root-crl", "pck-crl", "tcb-info", "qe-identity", "pck-chain"),
  },
  {
    id: "crl-other-issuer",
    why: "serial numbers are unique per issuer; they take a number in another issuer's list for a revocation",
    explains: laxer(/revoked/),
  },
  {
    id: "crl-time",
    why: "a list outside its validity says nothing about today; they do not look at its dates",
    explains: stricter("collateral-fresh", "root-crl", "pck-crl", "pck-chain", "tcb-info", "qe-identity"),
  },
  {
    id: "crl-chain",
    why: "the chain of the PCK list's issuer is judged like every other; they do not use it",
    explains: stricter("pck-crl"),
  },
  {
    id: "chain-names",
    why: "each issuer is the next subject (RFC 5280, 6.1.3); they follow keys only",
    explains: stricter("pck-chain", "pck-crl", "tcb-info", "qe-identity"),
  },
  {
    id: "chain-authority",
    why: "who signs certificates has cA and keyCertSign (RFC 5280, 6.1.4); they check neither for intermediates",
    explains: stricter("pck-chain", "pck-crl", "tcb-info", "qe-identity"),
  },
  {
    id: "critical-extension",
    why: "an unknown critical extension must be refused (RFC 5280, 4.2); they ignore it",
    explains: stricter("pck-chain", "pck-crl", "tcb-info", "qe-identity"),
  },
  {
    id: "document-signer",
    why: "TCB info and QE identity are signed by a certificate directly under the root; they take any chain",
    explains: stricter("tcb-info", "qe-identity"),
  },
  {
    id: "short-chain",
    why: "the root need not be sent, for the configured one counts; they want two certificates at least",
    explains: laxer(/too short/),
  },
  {
    id: "sent-root",
    why: "of a sent root only name and key matter: the configured one is what counts; they check the copy's own signature and dates",
    explains: laxer(/intermediate signature|expired or not yet valid/),
  },
  {
    id: "sgx-versions",
    why: "SGX bodies come in versions 4 and 5 as well; they read them in version 3 only",
    explains: laxer(/must have version|Failed to decode quote/),
  },
  {
    id: "strict-json",
    why: "a member of the wrong kind or length is a broken document; they compare what comes",
    explains: stricter("collateral-format"),
  },
  {
    id: "strict-quote",
    why: "lengths of nested parts agree with each other and nothing is left between them, also where it is not signed; they skip what they do not use",
    explains: (mine, other) =>
      !mine.ok &&
      other.ok &&
      mine.reasons.some((reason) => ["quote-format", "collateral-format", "pck-chain", "collateral"].includes(reason)),
  },
  {
    id: "strict-der",
    why: "certificates and lists are DER and nothing else (X.690); they read BER, and PEM with anything in between",
    explains: stricter("collateral-format", "pck-chain", "pck-crl", "root-crl", "tcb-info", "qe-identity"),
  },
  {
    id: "tcb-components",
    why: "levels are compared with the sixteen component numbers of the PCK certificate, as Intel's library does (in Intel's certificates they equal CPUSVN); they read CPUSVN",
    explains: (mine, other) =>
      bothAccept(mine, other) || stricter("tcb-level")(mine, other) || laxer(/No matching TCB level/)(mine, other),
  },
];

export const differenceById = (id: string): Difference => {
  const found = DIFFERENCES.find((difference) => difference.id === id);
  if (found === undefined) throw new Error(`no difference called ${id}`);
  return found;
};
