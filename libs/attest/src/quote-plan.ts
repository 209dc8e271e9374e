/**
 * DCAP verification without the cryptography: judges everything that is not a signature and lists
 * the signatures to check. All checks are made, so that a refusal shows the whole picture.
 */
import { concatBytes, equalBytes, isAllZero, toHex } from "@dstack/bytes";
import { sha256 } from "#sha2";
import type { CheckedCollateral } from "./checked-collateral.ts";
import { fail, firstFailure, guarded, notApplicable, pass } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";
import { atTime, decide, holdingOnes, judge, signaturesOf } from "./judgement.ts";
import type { Judgement, SignatureToCheck } from "./judgement.ts";
import { judgePckChain, pckCertificatesOf } from "./judge-pck-chain.ts";
import type { PckChain } from "./pck-chain.ts";
import type { PckExtension } from "./pck-extension.ts";
import { evaluatePolicy, policyEnd } from "./policy.ts";
import type { QuotePolicy } from "./policy.ts";
import type { QuoteClaims } from "./quote-claims.ts";
import { parseQuote } from "./quote.ts";
import type { Quote } from "./quote.ts";
import { signedDocumentsOf } from "./signed-document.ts";
import { assessTcb } from "./tcb-assessment.ts";
import type { TcbAssessment } from "./tcb-assessment.ts";
import { checkBodyAttributes, checkQeMeasurement, checkServiceTd } from "./tcb-checks.ts";
import type { QeIdentity, TcbInfo } from "./tcb-info.ts";
import { describeShortfall } from "./tcb-shortfall.ts";
import type { TcbShortfall } from "./tcb-shortfall.ts";
import type { TcbRules } from "./tcb-status.ts";
import type { TrustAnchor } from "./trust-anchor.ts";

export interface VerifyOptions {
  /** Unix seconds. */
  readonly now: number;
  readonly trustAnchor: TrustAnchor;
  /** Whose rules match TCB levels and merge their status; Intel's unless given. */
  readonly tcbRules?: TcbRules;
  /** More demands; without it the TCB status is reported and only a revoked one refused. */
  readonly policy?: QuotePolicy;
}

/**
 * The result of verification. Names of checks, in order: quote-format, collateral-format, quote-header,
 * trust-anchor, collateral-fresh, root-crl, pck-crl, tcb-info, qe-identity, pck-chain, qe-report-signature,
 * attestation-key, qe-measurement, quote-signature, platform-identity, tcb-level, tdx-module, tcb-status,
 * td-attributes, service-td, and with a policy policy-tcb-status, policy-advisories, policy-platform, policy-collateral.
 */
export type QuoteVerification =
  | ({ readonly ok: true; readonly checks: readonly Check[] } & QuoteClaims)
  | {
      readonly ok: false;
      readonly checks: readonly Check[];
      readonly reason: string;
      /** What a genuine platform lacks for a better TCB status. */
      readonly shortfall?: TcbShortfall;
    };

/** A quote judged up to its signatures. */
export interface QuotePlan {
  readonly judgements: readonly Judgement[];
  /** What `concludeQuote` must be told of. */
  readonly signatures: readonly SignatureToCheck[];
  /** Undefined where a check failed that the claims rest on. */
  readonly claims: QuoteClaims | undefined;
  readonly shortfall?: TcbShortfall;
  readonly options: VerifyOptions;
  /** A PCK chain that `collateral` may remember once its signatures and the quote's own hold. */
  readonly newPckChain?: { readonly chain: PckChain; readonly collateral: CheckedCollateral };
}

/** The quote, or the refusal of bytes that are none. */
export function readQuote(
  bytes: Uint8Array,
): { readonly ok: true; readonly quote: Quote } | { readonly ok: false; readonly refusal: QuoteVerification } {
  const parsed = guarded(() => parseQuote(bytes));
  return parsed.ok
    ? { ok: true, quote: parsed.value }
    : { ok: false, refusal: refused([{ name: "quote-format", ...parsed.outcome }]) };
}

/** The refusal of a quote whose collateral cannot be read. */
export function refuseCollateral(quote: Quote, outcome: Outcome): QuoteVerification {
  return refused([
    { name: "quote-format", ...describe(quote) },
    { name: "collateral-format", ...outcome },
  ]);
}

/** Judges a quote; see `concludeQuote` for the second half. Never throws on bad input. */
export function planQuote(quote: Quote, collateral: CheckedCollateral, options: VerifyOptions): QuotePlan {
  const found = guarded(() => findPckChain(quote, collateral));
  const [format, ...ofCollateral] = collateral.judgements;
  const first = [
    judge("quote-format", () => describe(quote)),
    ...(format === undefined ? [] : [format]),
    judge("quote-header", () => checkHeader(quote)),
  ];
  const documents = ofCollateral.map((judgement) => forThisTee(judgement, quote, collateral));
  if (!found.ok) {
    const judgements = [
      ...first,
      ...documents,
      { name: "pck-chain", outcome: found.outcome, periods: [], signatures: [] },
    ];
    return { judgements, signatures: signaturesOf(judgements), claims: undefined, options };
  }
  const { chain, isNew } = found.value;
  const assessment = assessTcb(quote, chain.extension, collateral.documents, options.tcbRules ?? "intel");
  const judgements = [...first, ...documents, chain.judgement, ...judgeQuote(quote, collateral, chain, assessment)];
  return {
    judgements,
    signatures: signaturesOf(judgements),
    claims: claimsOf(quote, collateral, chain, assessment, options.policy),
    ...(assessment.shortfall === undefined ? {} : { shortfall: assessment.shortfall }),
    options,
    ...(isNew ? { newPckChain: { chain, collateral } } : {}),
  };
}

/** The verification that a plan comes to. `holds` says of each signature, in order, whether it is good. */
export function concludeQuote(plan: QuotePlan, holds: readonly boolean[]): QuoteVerification {
  const { claims, shortfall, options, newPckChain } = plan;
  const holding = holdingOnes(plan.signatures, holds);
  const decided = plan.judgements.map((judgement) => decide(judgement, holding));
  const judgement = decided.find(({ name }) => name === "pck-chain");
  if (newPckChain !== undefined && judgement !== undefined && isOfPlatform(decided)) {
    newPckChain.collateral.remember({ ...newPckChain.chain, judgement });
  }
  const checks = decided.map((judgement) => atTime(judgement, options.now));
  if (claims !== undefined && options.policy !== undefined)
    checks.push(...evaluatePolicy(claims, options.policy, options.now));
  return claims === undefined || checks.some(({ result }) => result === "fail")
    ? { ...refused(checks), ...(shortfall !== undefined && isOfPlatform(decided) ? { shortfall } : {}) }
    : { ok: true, checks, ...claims };
}

/** What a platform alone can bring about. Anybody can put a forged quote before a chain that is public. */
const OF_PLATFORM: readonly string[] = ["pck-chain", "qe-report-signature", "attestation-key", "quote-signature"];

const isOfPlatform = (decided: readonly Judgement[]): boolean =>
  decided.every(({ name, outcome }) => outcome.result === "pass" || !OF_PLATFORM.includes(name));

function refused(checks: readonly Check[]): Extract<QuoteVerification, { ok: false }> {
  return { ok: false, checks, reason: firstFailure(checks) ?? "quote is not verified" };
}

function findPckChain(quote: Quote, collateral: CheckedCollateral): { chain: PckChain; isNew: boolean } {
  const certificates = pckCertificatesOf(quote, collateral);
  const known = collateral.provenPckChain(certificates);
  return known === undefined
    ? { chain: judgePckChain(certificates, collateral), isNew: true }
    : { chain: known, isNew: false };
}

/** Signed documents must also be of the quote's TEE. */
function forThisTee(judgement: Judgement, quote: Quote, { documents }: CheckedCollateral): Judgement {
  const wrong =
    judgement.name === "tcb-info"
      ? wrongTcbInfo(documents.tcbInfo, quote)
      : judgement.name === "qe-identity"
        ? wrongQeIdentity(documents.qeIdentity, quote)
        : undefined;
  return wrong === undefined ? judgement : { ...judgement, outcome: fail(wrong, "collateral-mismatch") };
}

function wrongTcbInfo({ id }: TcbInfo, { header }: Quote): string | undefined {
  const tee = header.tee.toUpperCase();
  return id === tee ? undefined : `TCB info is for ${id}, the quote for ${tee}`;
}

function wrongQeIdentity({ id, version }: QeIdentity, { header }: Quote): string | undefined {
  const fits = header.tee === "tdx" ? id === "TD_QE" && (version === 2 || version === 3) : id === "QE" && version === 2;
  const expected = header.tee === "tdx" ? "TD_QE version 2 or 3" : "QE version 2";
  return fits
    ? undefined
    : `identity ${id} version ${version}, expected ${expected} for quotes of ${header.tee.toUpperCase()}`;
}

function judgeQuote(
  quote: Quote,
  { documents }: CheckedCollateral,
  { extension, publicKey, attestationKeys }: PckChain,
  tcb: TcbAssessment,
): Judgement[] {
  const { tcbInfo, qeIdentity } = documents;
  return [
    judge("qe-report-signature", (signatures) => {
      signatures.push({
        what: "the QE report",
        publicKey,
        message: quote.qeReport.raw,
        signature: quote.qeReportSignature,
      });
      return pass("QE report signed by the platform's PCK key");
    }),
    judge("attestation-key", () => checkAttestationKey(quote)),
    judge("qe-measurement", () => checkQeMeasurement(quote.qeReport, qeIdentity, tcb.qeLevel)),
    judge("quote-signature", (signatures) => {
      signatures.push({
        what: "the quote",
        publicKey: attestationKeys.pointOf(quote.attestationKey),
        message: quote.signed,
        signature: quote.signature,
      });
      return pass("quote signed by the attestation key");
    }),
    judge("platform-identity", () => {
      const named = quote.certification.kind === "encrypted-ppid" ? quote.certification.pceId : extension.pceId;
      return equalBytes(extension.fmspc, tcbInfo.fmspc) &&
        equalBytes(extension.pceId, tcbInfo.pceId) &&
        equalBytes(named, extension.pceId)
        ? pass(`FMSPC ${toHex(extension.fmspc)}, PCEID ${toHex(extension.pceId)}`)
        : fail(
            `PCK certificate: FMSPC ${toHex(extension.fmspc)} PCEID ${toHex(extension.pceId)}; quote: PCEID ${toHex(named)}; ` +
              `TCB info: ${toHex(tcbInfo.fmspc)} ${toHex(tcbInfo.pceId)}; expected the same`,
            "platform-mismatch",
          );
    }),
    judge("tcb-level", () =>
      tcb.level === undefined
        ? fail(`no matching TCB level: ${describeMissing(tcb, extension)}`, "tcb-level-missing")
        : pass(`${tcb.level.status}, ${tcb.level.tcbDate}`),
    ),
    judge("tdx-module", () => tcb.module?.outcome ?? notApplicable("an SGX quote has no TDX module")),
    judge("tcb-status", () => checkStatus(tcb)),
    judge("td-attributes", () => checkBodyAttributes(quote.body)),
    judge("service-td", () => checkServiceTd(quote.body)),
  ];
}

function claimsOf(
  quote: Quote,
  collateral: CheckedCollateral,
  { extension, judgement }: PckChain,
  tcb: TcbAssessment,
  policy: QuotePolicy = {},
): QuoteClaims | undefined {
  const { level, qeLevel, merged } = tcb;
  if (level === undefined || qeLevel === undefined || merged === undefined) return undefined;
  const levels = [level, qeLevel, ...(tcb.module?.level === undefined ? [] : [tcb.module.level])];
  const ends = [collateral.expiresAt, ...judgement.periods.map(({ until }) => until)];
  const claims = {
    quote,
    status: merged.status,
    platformStatus: merged.platform,
    qeStatus: qeLevel.status,
    advisoryIds: [...new Set(levels.flatMap(({ advisoryIds }) => advisoryIds))].toSorted(),
    relaunchAdvised: tcb.relaunchAdvised,
    ...(tcb.shortfall === undefined ? {} : { shortfall: tcb.shortfall }),
    ppid: extension.ppid,
    fmspc: extension.fmspc,
    tcbDate: level.tcbDate,
    earliestTcbDate: levels.map(({ tcbDate }) => tcbDate).reduce((a, b) => (Date.parse(b) < Date.parse(a) ? b : a)),
    tcbEvaluationDataNumber: collateral.documents.tcbInfo.evaluationDataNumber,
    documents: signedDocumentsOf(collateral.documents),
    trustAnchor: collateral.trustAnchor.kind,
  };
  return { ...claims, goodUntil: Math.min(...ends, policyEnd(claims, policy)) };
}

const INTEL_QE_VENDOR = "939a7233f79c4ca9940a0db3957f0607";
const ECDSA_P256 = 2;

const describe = ({ header }: Quote): Outcome => pass(`version ${header.version}, ${header.tee.toUpperCase()}`);

function checkHeader({ header }: Quote): Outcome {
  if (header.attestationKeyType !== ECDSA_P256) {
    return fail(`attestation key type ${header.attestationKeyType}, expected 2 (ECDSA P-256)`, "attestation-key-type");
  }
  if (toHex(header.qeVendorId) !== INTEL_QE_VENDOR)
    return fail(`QE vendor ${toHex(header.qeVendorId)}, expected Intel's ${INTEL_QE_VENDOR}`, "qe-vendor");
  return pass("ECDSA P-256, Intel's quoting enclave");
}

function checkAttestationKey({ attestationKey, qeAuthData, qeReport }: Quote): Outcome {
  const expected = sha256(concatBytes(attestationKey, qeAuthData));
  const bound =
    equalBytes(qeReport.reportData.subarray(0, 32), expected) && isAllZero(qeReport.reportData.subarray(32));
  return bound
    ? pass("attestation key vouched for by the QE report")
    : fail(
        `QE report data ${toHex(qeReport.reportData)}, expected SHA-256(attestation key, QE authentication data) ${toHex(expected)} and zeros`,
        "attestation-key-unbound",
      );
}

const describeMissing = ({ shortfall }: TcbAssessment, { cpuSvn, pceSvn }: PckExtension): string =>
  shortfall === undefined
    ? `Intel lists none that is not revoked; CPUSVN ${toHex(cpuSvn)}, PCESVN ${pceSvn}`
    : describeShortfall(shortfall);

function checkStatus({ merged, qeLevel, shortfall }: TcbAssessment): Outcome {
  if (merged === undefined)
    return fail("no status: no TCB level of platform, TDX module or quoting enclave matches", "tcb-level-missing");
  if (merged.status === "Revoked") {
    const revoked = [
      ...(merged.platform === "Revoked" ? ["platform or TDX module"] : []),
      ...(qeLevel?.status === "Revoked" ? ["quoting enclave"] : []),
    ];
    const way = shortfall === undefined ? "" : `; ${describeShortfall(shortfall)}`;
    return fail(`${revoked.join(" and ")} is revoked${way}`, "tcb-revoked");
  }
  return pass(shortfall === undefined ? merged.status : `${merged.status}; ${describeShortfall(shortfall)}`);
}
