import {
  evaluatePolicy,
  notBound,
  pass,
  policyEnd,
  type Check,
  type Outcome,
  type QuotePolicy,
  type TrustAnchor,
} from "@dstack/attest";
import type { CollateralSource } from "@dstack/attest/node";
import type { ReportData } from "@dstack/bytes";
import {
  EVIDENCE_REQUIRED,
  verifyEvidence,
  type Evidence,
  type EvidenceVerification,
  type OsImageInput,
  type OsImageSource,
} from "@dstack/verify";
import { judgeTcb } from "./platform-tcb.ts";

/** What evidence is judged with, wherever it came from. */
export interface VerifyContext {
  /** Unix seconds. */
  readonly now: number;
  readonly trustAnchor: TrustAnchor;
  /** The file of a root that is not Intel's. */
  readonly rootFile: string | undefined;
  readonly collateralSource: CollateralSource;
  readonly images: OsImageSource;
  readonly policy: QuotePolicy | undefined;
  /** Checks that the caller takes upon themselves. */
  readonly accept?: readonly string[];
  /** Told of each comparison with an image, so that a bundle can hold what it needs. */
  readonly onImage?: (input: ImageInput) => void;
  /** Told until when each piece of evidence that holds does so, Unix seconds. */
  readonly onGoodUntil?: (end: number) => void;
}

export type ImageInput = Omit<OsImageInput, "images" | "acpiTables">;

/** Evidence under a root that anybody with its key can sign for proves nothing about hardware. */
export type Environment = "development" | "production";

export const environmentOf = ({ trustAnchor }: VerifyContext): Environment =>
  trustAnchor.kind === "intel" ? "production" : "development";

export function rootOfTrust({ trustAnchor, rootFile }: VerifyContext): Outcome {
  return trustAnchor.kind === "intel"
    ? pass("Intel SGX Root CA")
    : notBound(`${rootFile}: a development root, which anybody with its key can sign for`);
}

const HOW_TO_TAKE_IT = "take it with --accept tcb, or name the statuses that will do in a --policy";

/** What evidence must show that a verdict on something else rests on: who holds a key, say. */
export const requiredOf = ({ accept = [] }: VerifyContext): readonly string[] =>
  [...EVIDENCE_REQUIRED, "report-data", "tcb"].filter((name) => name !== "tcb" || !accept.includes(name));

/** Verifies evidence in full, with the policy's demands; the platform's TCB status is a check of its own. */
export async function judgeEvidence(
  evidence: Evidence,
  context: VerifyContext,
  expectedReportData: ReportData | undefined,
): Promise<EvidenceVerification> {
  const { collateralSource, trustAnchor, now, images, policy } = context;
  const result = await verifyEvidence(evidence, {
    collateralSource,
    trustAnchor,
    now,
    images,
    ...(expectedReportData === undefined ? {} : { expectedReportData }),
  });
  const checks: Check[] = [{ name: "root-of-trust", ...rootOfTrust(context) }, ...result.checks];
  if (result.attestation.ok) {
    const { quote, report } = result.attestation;
    context.onImage?.({ report, eventLog: evidence.attestation.platform.eventLog, vmConfig: evidence.vmConfig });
    context.onGoodUntil?.(Math.min(quote.goodUntil, policyEnd(quote, policy ?? {})));
    const tcb = judgeTcb(quote, policy);
    checks.push({ name: "tcb", ...(tcb.result === "pass" ? tcb : notBound(`${tcb.reason}; ${HOW_TO_TAKE_IT}`)) });
    if (policy !== undefined) checks.push(...evaluatePolicy(quote, policy, now));
  }
  return { ...result, checks };
}
