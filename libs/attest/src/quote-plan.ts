/**
 * DCAP verification without the cryptography: judges everything that is not a signature and lists
 * the signatures to check. All checks are made, so that a refusal shows the whole picture.
 */
import { concatBytes, equalBytes, isAllZero, toHex, utf8, utf8Decode } from "@dstack/bytes";
import { sha256 } from "@noble/hashes/sha2.js";
import { basicConstraints, commonName, p256Point, parseCertificateChain, parseRevocationList } from "./certificate.ts";
import type { Certificate, RevocationList } from "./certificate.ts";
import { checkChain, checkRevocationList, isoTime } from "./chain.ts";
import type { ChainContext, SignatureToCheck } from "./chain.ts";
import { fail, firstFailure, guarded, notApplicable, pass } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";
import type { QuoteCollateral } from "./collateral.ts";
import { AttestError } from "./errors.ts";
import { readPckExtension } from "./pck-extension.ts";
import type { PckExtension } from "./pck-extension.ts";
import { parseQuote, uncompressedPoint } from "./quote.ts";
import type { Quote } from "./quote.ts";
import { checkQeMeasurement, checkSeamModule, checkTdAttributes, findTcbLevel } from "./tcb-checks.ts";
import { parseQeIdentity, parseTcbInfo } from "./tcb-info.ts";
import type { QeIdentity, TcbInfo } from "./tcb-info.ts";
import { mergeTcbStatus } from "./tcb-status.ts";
import type { TcbStatus } from "./tcb-status.ts";
import type { TrustAnchor } from "./trust-anchor.ts";

export interface VerifyOptions {
  /** Unix seconds. */
  readonly now: number;
  readonly trustAnchor: TrustAnchor;
}

/** What a verified quote proves about platform and software. */
export interface QuoteClaims {
  readonly quote: Quote;
  /** Of the platform, its TDX module and its quoting enclave together. */
  readonly status: TcbStatus;
  /** Of platform and TDX module. */
  readonly platformStatus: TcbStatus;
  readonly qeStatus: TcbStatus;
  readonly advisoryIds: readonly string[];
  /** 16 bytes that name the platform. */
  readonly ppid: Uint8Array;
  readonly fmspc: Uint8Array;
  /** ISO 8601 text: the date of the matched TCB level. */
  readonly tcbDate: string;
  readonly tcbEvaluationDataNumber: number;
  /** Unix seconds: the earliest nextUpdate of what was used. */
  readonly collateralExpiresAt: number;
  readonly trustAnchor: TrustAnchor["kind"];
}

/**
 * The result of verification. Names of checks: quote-format, collateral-format, quote-header, trust-anchor,
 * collateral-fresh, root-crl, pck-crl, tcb-info, qe-identity, pck-chain, qe-report-signature, attestation-key,
 * qe-measurement, quote-signature, platform-identity, tcb-level, tdx-module, tcb-status, td-attributes, service-td.
 */
export type QuoteVerification =
  | ({ readonly ok: true; readonly checks: readonly Check[] } & QuoteClaims)
  | { readonly ok: false; readonly checks: readonly Check[]; readonly reason: string };

export interface QuotePlan {
  readonly checks: readonly Check[];
  /** Every one must hold, else its check fails. */
  readonly signatures: readonly SignatureToCheck[];
  /** Undefined where a check failed that the claims rest on. */
  readonly claims: QuoteClaims | undefined;
}

const INTEL_QE_VENDOR = "939a7233f79c4ca9940a0db3957f0607";
const ECDSA_P256 = 2;

/** Judges a quote; see `concludeQuote` for the second half. Never throws on bad input. */
export function planQuoteVerification(quoteBytes: Uint8Array, collateral: QuoteCollateral, options: VerifyOptions): QuotePlan {
  const parsed = guarded(() => parseQuote(quoteBytes));
  if (!parsed.ok) return { checks: [{ name: "quote-format", ...parsed.outcome }], signatures: [], claims: undefined };
  const quote = parsed.value;
  const material = guarded(() => readMaterial(quote, collateral));
  if (!material.ok) {
    const checks = [{ name: "quote-format", ...pass(`version ${quote.header.version}`) }, { name: "collateral-format", ...material.outcome }];
    return { checks, signatures: [], claims: undefined };
  }
  return judge(quote, material.value, collateral, options);
}

/** The verification that a plan comes to. `holds` says of each signature, in order, whether it is good. */
export function concludeQuote(plan: QuotePlan, holds: readonly boolean[]): QuoteVerification {
  const bad = new Map<string, string>();
  for (const [index, signature] of plan.signatures.entries()) {
    if (holds[index] !== true && !bad.has(signature.check)) bad.set(signature.check, `signature of ${signature.what} does not hold`);
  }
  const checks = plan.checks.map((check) => {
    const problem = bad.get(check.name);
    return problem === undefined || check.result === "fail" ? check : { name: check.name, ...fail(problem) };
  });
  const reason = firstFailure(checks);
  if (reason !== undefined || plan.claims === undefined) return { ok: false, checks, reason: reason ?? "quote is not verified" };
  return { ok: true, checks, ...plan.claims };
}

/** Everything parsed that the checks look at. */
interface Material {
  readonly rootCrl: RevocationList;
  readonly pckCrl: RevocationList;
  readonly pckCrlChain: readonly Certificate[];
  readonly tcbChain: readonly Certificate[];
  readonly qeChain: readonly Certificate[];
  readonly pckChain: readonly Certificate[];
  readonly pck: PckExtension;
  readonly tcbInfo: TcbInfo;
  readonly qeIdentity: QeIdentity;
}

function readMaterial(quote: Quote, collateral: QuoteCollateral): Material {
  const pckChain = parseCertificateChain(pckPem(quote, collateral), "PCK chain");
  return {
    rootCrl: parseRevocationList(collateral.rootCaCrl),
    pckCrl: parseRevocationList(collateral.pckCrl),
    pckCrlChain: parseCertificateChain(collateral.pckCrlIssuerChain, "PCK CRL issuer chain"),
    tcbChain: parseCertificateChain(collateral.tcbInfoIssuerChain, "TCB info issuer chain"),
    qeChain: parseCertificateChain(collateral.qeIdentityIssuerChain, "QE identity issuer chain"),
    pckChain,
    pck: readPckExtension(leaf(pckChain)),
    tcbInfo: parseTcbInfo(collateral.tcbInfo),
    qeIdentity: parseQeIdentity(collateral.qeIdentity),
  };
}

function pckPem(quote: Quote, collateral: QuoteCollateral): string {
  if (collateral.pckCertificateChain !== undefined) return collateral.pckCertificateChain;
  if (quote.certification.kind === "pem-chain") return utf8Decode(quote.certification.pem, "PCK chain");
  throw new AttestError("collateral-malformed", "collateral: the quote names its PCK certificate by encrypted PPID only; pck_certificate_chain is missing");
}

function judge(quote: Quote, material: Material, collateral: QuoteCollateral, options: VerifyOptions): QuotePlan {
  const { now, trustAnchor: anchor } = options;
  const { rootCrl, pckCrl, pckChain, pck, tcbInfo, qeIdentity } = material;
  const signatures: SignatureToCheck[] = [];
  const checks: Check[] = [];
  const run = (name: string, check: () => Outcome): void => {
    const outcome = guarded(check);
    checks.push({ name, ...(outcome.ok ? outcome.value : outcome.outcome) });
  };
  const context: ChainContext = { anchor, revocationLists: [rootCrl, pckCrl], now, signatures };
  const td = quote.body.kind === "tdx" ? quote.body : undefined;
  const level = findTcbLevel(tcbInfo, pck, td?.teeTcbSvn);
  const seam = td === undefined ? undefined : checkSeamModule(tcbInfo, td);
  const qe = checkQeMeasurement(quote, qeIdentity);
  const qeLevel = qeIdentity.levels.find(({ isvSvn }) => isvSvn <= quote.qeReport.isvSvn);
  const platformStatus = level === undefined ? undefined : mergeTcbStatus(level.status, seam?.level?.status ?? "UpToDate");
  const status = platformStatus === undefined || qeLevel === undefined ? undefined : mergeTcbStatus(platformStatus, qeLevel.status);

  run("quote-format", () => pass(`version ${quote.header.version}, ${quote.header.tee.toUpperCase()}`));
  run("collateral-format", () => pass("all documents are well formed"));
  run("quote-header", () => checkHeader(quote));
  run("trust-anchor", () => checkAnchor(anchor, rootCrl, now));
  run("collateral-fresh", () => checkFresh(material, now));
  run("root-crl", () => checkRevocationList("root-crl", rootCrl, anchor.subject, anchor.publicKey, signatures));
  run("pck-crl", () => {
    const chain = checkChain("pck-crl", material.pckCrlChain, context);
    if (chain.result === "fail") return chain;
    const issuer = leaf(material.pckCrlChain);
    if (!basicConstraints(issuer).ca) return fail(`"${commonName(issuer.subject)}" is no certificate authority`);
    return checkRevocationList("pck-crl", pckCrl, issuer.subject, p256Point(issuer.publicKeyInfo), signatures);
  });
  run("tcb-info", () => tcbInfo.id !== quote.header.tee.toUpperCase()
    ? fail(`TCB info is for ${tcbInfo.id}, the quote for ${quote.header.tee.toUpperCase()}`)
    : checkSignedDocument("tcb-info", material.tcbChain, collateral.tcbInfo, collateral.tcbInfoSignature, context));
  run("qe-identity", () => isQeIdentityFor(qeIdentity, td !== undefined)
    ? checkSignedDocument("qe-identity", material.qeChain, collateral.qeIdentity, collateral.qeIdentitySignature, context)
    : fail(`identity ${qeIdentity.id} version ${qeIdentity.version} is not for quotes of ${quote.header.tee.toUpperCase()}`));
  run("pck-chain", () => checkPckChain(pckChain, context));
  run("qe-report-signature", () => {
    const publicKey = p256Point(leaf(pckChain).publicKeyInfo);
    signatures.push({ check: "qe-report-signature", what: "the QE report", publicKey, message: quote.qeReport.raw, signature: quote.qeReportSignature });
    return pass("QE report signed by the platform's PCK key");
  });
  run("attestation-key", () => checkAttestationKey(quote));
  run("qe-measurement", () => qe);
  run("quote-signature", () => {
    const publicKey = uncompressedPoint(quote.attestationKey);
    signatures.push({ check: "quote-signature", what: "the quote", publicKey, message: quote.signed, signature: quote.signature });
    return pass("quote signed by the attestation key");
  });
  run("platform-identity", () => equalBytes(pck.fmspc, tcbInfo.fmspc) && equalBytes(pck.pceId, tcbInfo.pceId)
    ? pass(`FMSPC ${toHex(pck.fmspc)}, PCEID ${toHex(pck.pceId)}`)
    : fail(`PCK certificate: FMSPC ${toHex(pck.fmspc)} PCEID ${toHex(pck.pceId)}, TCB info: ${toHex(tcbInfo.fmspc)} ${toHex(tcbInfo.pceId)}`));
  run("tcb-level", () => level === undefined ? fail("no matching TCB level") : pass(`${level.status}, ${level.tcbDate}`));
  run("tdx-module", () => seam?.outcome ?? notApplicable("an SGX quote has no TDX module"));
  run("tcb-status", () => {
    if (status === undefined) return fail("no status: no TCB level of platform or quoting enclave matches");
    return status === "Revoked" ? fail("platform, TDX module or quoting enclave is revoked") : pass(status);
  });
  run("td-attributes", () => td === undefined
    ? ((quote.body.kind === "sgx" && (quote.body.attributes[0] ?? 0) & 2) !== 0 ? fail("enclave is in debug mode") : pass("debug is off"))
    : checkTdAttributes(td));
  run("service-td", () => {
    if (td?.mrServiceTd === undefined) return notApplicable("no TD report 1.5");
    return isAllZero(td.mrServiceTd) ? pass("no service TD is bound") : fail(`MRSERVICETD is ${toHex(td.mrServiceTd)}: another TD may migrate this one`);
  });

  const claims = level === undefined || qeLevel === undefined || platformStatus === undefined || status === undefined ? undefined : {
    quote,
    status,
    platformStatus,
    qeStatus: qeLevel.status,
    advisoryIds: [...new Set([...level.advisoryIds, ...seam?.level?.advisoryIds ?? [], ...qeLevel.advisoryIds])].toSorted(),
    ppid: pck.ppid,
    fmspc: pck.fmspc,
    tcbDate: level.tcbDate,
    tcbEvaluationDataNumber: tcbInfo.evaluationDataNumber,
    collateralExpiresAt: Math.min(rootCrl.nextUpdate, pckCrl.nextUpdate, tcbInfo.nextUpdate, qeIdentity.nextUpdate),
    trustAnchor: anchor.kind,
  };
  return { checks, signatures, claims };
}

function checkHeader({ header }: Quote): Outcome {
  if (header.attestationKeyType !== ECDSA_P256) return fail(`attestation key type ${header.attestationKeyType}, expected 2 (ECDSA P-256)`);
  if (toHex(header.qeVendorId) !== INTEL_QE_VENDOR) return fail(`QE vendor ${toHex(header.qeVendorId)}, expected Intel's ${INTEL_QE_VENDOR}`);
  return pass("ECDSA P-256, Intel's quoting enclave");
}

function checkAnchor(anchor: TrustAnchor, rootCrl: RevocationList, now: number): Outcome {
  const name = `${commonName(anchor.subject)} (${anchor.kind})`;
  if (now < anchor.notBefore || now > anchor.notAfter) return fail(`${name} is not valid at ${isoTime(now)}`);
  if (rootCrl.revoked.has(anchor.serial)) return fail(`${name} is revoked`);
  return pass(name);
}

function checkFresh({ rootCrl, pckCrl, tcbInfo, qeIdentity }: Material, now: number): Outcome {
  const documents: readonly (readonly [string, number, number])[] = [
    ["root CRL", rootCrl.thisUpdate, rootCrl.nextUpdate],
    ["PCK CRL", pckCrl.thisUpdate, pckCrl.nextUpdate],
    ["TCB info", tcbInfo.issueDate, tcbInfo.nextUpdate],
    ["QE identity", qeIdentity.issueDate, qeIdentity.nextUpdate],
  ];
  for (const [name, from, until] of documents) {
    if (now < from) return fail(`${name} is issued only at ${isoTime(from)}; the clock says ${isoTime(now)}`);
    if (now > until) return fail(`${name} expired at ${isoTime(until)}, now ${isoTime(now)}; the collateral server gives stale data`);
  }
  return pass(`until ${isoTime(Math.min(...documents.map(([, , until]) => until)))}`);
}

function isQeIdentityFor(identity: QeIdentity, tdx: boolean): boolean {
  return tdx ? identity.id === "TD_QE" && (identity.version === 2 || identity.version === 3) : identity.id === "QE" && identity.version === 2;
}

// The signers stand directly under the root; a platform's own certificates do not and may not sign here.
function checkSignedDocument(
  check: string, chain: readonly Certificate[], text: string, signature: Uint8Array, context: ChainContext,
): Outcome {
  const outcome = checkChain(check, chain, context);
  if (outcome.result === "fail") return outcome;
  const signer = leaf(chain);
  if (!equalBytes(signer.issuer, context.anchor.subject)) return fail(`signer "${commonName(signer.subject)}" was not issued by the root`);
  if (signature.length !== 64) return fail(`signature of ${signature.length} bytes, expected 64`);
  context.signatures.push({ check, what: "the document", publicKey: p256Point(signer.publicKeyInfo), message: utf8(text), signature });
  return outcome;
}

function checkPckChain(chain: readonly Certificate[], context: ChainContext): Outcome {
  const name = commonName(leaf(chain).subject);
  if (context.anchor.kind === "intel" && !name.includes("SGX PCK Certificate")) return fail(`"${name}" is not a PCK certificate`);
  return checkChain("pck-chain", chain, context);
}

function checkAttestationKey({ attestationKey, qeAuthData, qeReport }: Quote): Outcome {
  const expected = sha256(concatBytes(attestationKey, qeAuthData));
  const bound = equalBytes(qeReport.reportData.subarray(0, 32), expected) && isAllZero(qeReport.reportData.subarray(32));
  return bound ? pass("attestation key vouched for by the QE report") : fail("QE report data is not the hash of attestation key and QE authentication data");
}

function leaf(chain: readonly Certificate[]): Certificate {
  const [first] = chain;
  if (first === undefined) throw new AttestError("certificate-malformed", "certificate chain is empty");
  return first;
}
