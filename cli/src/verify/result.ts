import type { Check } from "@dstack/attest";
import type { EvidenceVerification, Verdict } from "@dstack/verify";
import { judgeChecks } from "@dstack/verify";
import type { Environment } from "./context.ts";
import type { Section } from "./fact.ts";

export interface VerifyResult {
  readonly ok: boolean;
  readonly verdict: Verdict;
  readonly kind: "app" | "kms" | "gateway" | "evidence";
  readonly what: string;
  readonly environment: Environment;
  readonly checks: readonly Check[];
  readonly sections: readonly Section[];
  readonly appId: string | undefined;
  readonly composeHash: string | undefined;
  readonly tcbStatus: string | undefined;
  readonly osImageHash: string | undefined;
  /** Unix seconds: the first end among documents, certificates and the policy's limits. Undefined where nothing held. */
  readonly goodUntil?: number;
}

export interface ResultParts {
  readonly kind: VerifyResult["kind"];
  readonly what: string;
  readonly environment: Environment;
  readonly checks: readonly Check[];
  readonly required: readonly string[];
  readonly sections: readonly Section[];
  readonly identity: Pick<VerifyResult, "appId" | "composeHash" | "tcbStatus" | "osImageHash">;
}

/** `accept`: required checks whose being "not bound" the caller takes upon themselves. */
export function concludeResult({ required, identity, ...parts }: ResultParts, accept: readonly string[]): VerifyResult {
  const verdict = judgeChecks(
    parts.checks,
    required.filter((name) => !accept.includes(name)),
  );
  return { ok: verdict.kind === "verified", verdict, ...parts, ...identity };
}

export const NO_IDENTITY: ResultParts["identity"] = {
  appId: undefined,
  composeHash: undefined,
  tcbStatus: undefined,
  osImageHash: undefined,
};

export function identityOf({ attestation }: EvidenceVerification): ResultParts["identity"] {
  if (!attestation.ok) return NO_IDENTITY;
  const { appInfo, quote } = attestation;
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  return {
    appId: hex(appInfo.appId),
    composeHash: hex(appInfo.composeHash),
    tcbStatus: quote.status,
    osImageHash: hex(appInfo.osImageHash),
  };
}
