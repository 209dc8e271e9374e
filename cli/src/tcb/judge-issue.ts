import {
  AttestError,
  evaluatePolicy,
  firstFailure,
  type Quote,
  type QuoteCollateral,
  type QuotePolicy,
  type QuoteVerification,
  type TcbShortfall,
} from "@dstack/attest";
import { checkCollateral, fetchCollateralIssue, verifyQuote, type TcbIssue } from "@dstack/attest/node";
import type { VerifyContext } from "../verify/context.ts";

export interface IssueVerdict {
  readonly issue: TcbIssue;
  /** Undefined where the documents could not be had: then nothing is known. */
  readonly ok: boolean | undefined;
  /** Who gave the documents, where that is known. */
  readonly server?: string;
  readonly evaluation?: number;
  /** Unix seconds. */
  readonly issued?: number;
  readonly status?: string;
  readonly advisoryIds: readonly string[];
  /** 16 bytes that name the platform, of a quote that holds. */
  readonly ppid?: Uint8Array;
  readonly relaunchAdvised: boolean;
  /** Why it is not accepted, or not known. */
  readonly reason?: string;
  readonly shortfall?: TcbShortfall;
}

/** A quote under judgement by one issue of Intel's documents after the other. */
export interface IssueInput {
  readonly bytes: Uint8Array;
  readonly quote: Quote;
  readonly context: VerifyContext;
  readonly endpoints: readonly string[];
}

/** The verdict by an issue. Documents that cannot be had are a verdict that is not known; only faults of ours throw. */
export async function judgeIssue(input: IssueInput, issue: TcbIssue): Promise<IssueVerdict> {
  const { quote, context, endpoints } = input;
  const { trustAnchor, now, collateralSource } = context;
  try {
    const { collateral, server } =
      issue === "standard"
        ? { collateral: await collateralSource.collateralFor(quote), server: undefined }
        : await fetchCollateralIssue(quote, issue, { endpoints, trustAnchor, now }).then((found) => ({
            collateral: found.checked,
            server: found.server,
          }));
    return verdictOf(input, issue, collateral, server);
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    return { issue, ok: undefined, advisoryIds: [], relaunchAdvised: false, reason: error.message };
  }
}

function verdictOf(
  { bytes, context: { trustAnchor, now, policy } }: IssueInput,
  issue: TcbIssue,
  collateral: QuoteCollateral,
  server: string | undefined,
): IssueVerdict {
  const checked = checkCollateral(collateral, trustAnchor);
  const { evaluationDataNumber, issueDate } = checked.documents.tcbInfo;
  const result = verifyQuote(bytes, checked, { trustAnchor, now });
  const reason = refusalOf(result, policy, now);
  return {
    issue,
    ok: reason === undefined,
    ...(server === undefined ? {} : { server }),
    evaluation: evaluationDataNumber,
    issued: issueDate,
    ...(result.ok ? { status: result.status, ppid: result.ppid } : {}),
    advisoryIds: result.ok ? result.advisoryIds : [],
    relaunchAdvised: result.ok && result.relaunchAdvised,
    ...(reason === undefined ? {} : { reason }),
    ...(result.shortfall === undefined ? {} : { shortfall: result.shortfall }),
  };
}

function refusalOf(result: QuoteVerification, policy: QuotePolicy | undefined, now: number): string | undefined {
  if (!result.ok) return result.reason;
  const demanded = policy === undefined ? undefined : firstFailure(evaluatePolicy(result, policy, now));
  if (demanded !== undefined) return demanded;
  return policy?.acceptedStatuses === undefined && result.status !== "UpToDate"
    ? `the status is ${result.status}, expected UpToDate`
    : undefined;
}
