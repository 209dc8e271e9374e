import { parseQuote, warningsOf, type Attestation, type QuotePolicy, type TrustAnchor } from "@dstack/attest";
import {
  verifyAttestation,
  verifyQuote,
  type AttestationVerification,
  type CollateralSource,
} from "@dstack/attest/node";
import { equalBytes, type ReportData } from "@dstack/bytes";
import { expectedReportData, RatlsError, readDstackExtensions } from "@dstack/ratls";
import { errorChain, excerpt } from "@dstack/errors";
import { RpcError, type RpcCall } from "@dstack/rpc";
import type { SeenPlatforms } from "@dstack/verify";
import type { VerifiedEvidence } from "./boot-info.ts";

/** Who calls. A certificate proves possession of its key; who that is, only its evidence says. */
export type Caller =
  | { readonly kind: "anonymous" }
  | { readonly kind: "attested"; readonly attestation: Attestation; readonly verified: VerifiedEvidence };

/** Routes of rule `attested` refuse anonymous callers, after a version check and in the words that their clients know. */
export type CallerRule = "none" | "attested";

export type AttestedCaller = Extract<Caller, { readonly kind: "attested" }>;

export interface EvidenceRule {
  readonly collateral: CollateralSource;
  readonly trustAnchor: TrustAnchor;
  readonly clock: { now(): number };
  /** A turn for the work; see `pacer`. */
  readonly pace: () => Promise<void>;
  /** Told of each platform whose evidence held. */
  readonly platforms: SeenPlatforms;
  /** Demands on every platform, this KMS's own too; which app may have keys is the auth server's word. */
  readonly policy?: QuotePolicy;
  /** Told of each limit of the policy that will be reached, at every verification. */
  readonly onWarning?: (warning: string) => void;
}

/** Verifies evidence now; an expected outcome either way. */
export async function verifyEvidence(
  rule: EvidenceRule,
  attestation: Attestation,
  expected: ReportData,
  signal: AbortSignal,
): Promise<AttestationVerification> {
  await rule.pace();
  const verified = await verifyAttestation(attestation, {
    collateralSource: rule.collateral,
    trustAnchor: rule.trustAnchor,
    now: Math.floor(rule.clock.now() / 1000),
    expectedReportData: expected,
    signal,
    ...(rule.policy === undefined ? {} : { policy: rule.policy }),
  });
  if (!verified.ok) return verified;
  rule.platforms.saw(verified.quote);
  for (const warning of warningsOf(verified.checks)) rule.onWarning?.(warning);
  return verified;
}

/**
 * Why a quote by itself is refused, whatever stands beside it; undefined where it holds and is for
 * this report data, on a platform that the policy takes. The cheapest comes first.
 * @throws AttestError where it is none or its collateral cannot be had
 */
export async function refusalOfQuote(
  rule: EvidenceRule,
  bytes: Uint8Array,
  expected: ReportData,
  signal: AbortSignal,
): Promise<string | undefined> {
  const quote = parseQuote(bytes);
  if (!equalBytes(quote.body.reportData, expected)) return "report-data: the quote is for another key";
  await rule.pace();
  const collateral = await rule.collateral.collateralFor(quote, signal);
  const now = Math.floor(rule.clock.now() / 1000);
  const { trustAnchor, policy } = rule;
  const verified = verifyQuote(bytes, collateral, { trustAnchor, now, ...(policy === undefined ? {} : { policy }) });
  return verified.ok ? undefined : verified.reason;
}

/** Why evidence was refused, as log and audit line have it: our words, both values where two differ, a bounded part of the stranger's. */
export const recordedReason = (reason: string): string => excerpt(reason, { maxChars: 512 });

export interface CallerReaderOptions extends EvidenceRule {
  /** Told of evidence that did not hold, for the record. */
  readonly onRefusal: (call: RpcCall, reason: string) => Promise<void>;
}

/**
 * Reads the caller off the TLS peer's certificate. Issuer and dates of that certificate prove
 * nothing (the temporary CA's key is public), so they are not looked at; evidence that does not
 * verify is refused whatever the method.
 */
export function callerReader(options: CallerReaderOptions): (rule: CallerRule, call: RpcCall) => Promise<Caller> {
  return (_rule, call) => readCaller(options, call);
}

async function readCaller(options: CallerReaderOptions, call: RpcCall): Promise<Caller> {
  const [peerCertificate] = call.peerCertificates;
  if (peerCertificate === undefined) return { kind: "anonymous" };
  const refuse = async (reason: string, cause: unknown): Promise<never> => {
    await options.onRefusal(call, recordedReason(reason));
    throw new RpcError("unauthenticated", "invalid quote", { cause });
  };
  let extensions;
  try {
    extensions = readDstackExtensions(peerCertificate);
  } catch (error) {
    if (!(error instanceof RatlsError)) throw error;
    return refuse(errorChain(error), error);
  }
  const { attestation } = extensions;
  if (attestation === undefined) return { kind: "anonymous" };
  const verification = await verifyEvidence(options, attestation, expectedReportData(extensions), call.signal);
  if (!verification.ok) return refuse(verification.reason, new Error(verification.reason));
  return { kind: "attested", attestation, verified: verification };
}
