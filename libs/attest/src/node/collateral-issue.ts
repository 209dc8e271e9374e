/** Collateral of one issue of Intel's TCB documents: the early one, or one that is named by its number. */
import { streamedFetch } from "@dstack/http";
import type { CheckedCollateral } from "../checked-collateral.ts";
import { firstFailure } from "../checks.ts";
import { AttestError } from "../errors.ts";
import type { Quote } from "../quote.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import { platformOf } from "./platform.ts";
import { ProvisioningClient } from "./provisioning-client.ts";
import type { TcbIssue } from "./provisioning-client.ts";
import { checkCollateral } from "./verify-quote.ts";

export interface CollateralIssueOptions {
  /** Base URLs of PCS or PCCS, tried in this order. */
  readonly endpoints: readonly string[];
  readonly trustAnchor: TrustAnchor;
  /** Unix seconds. */
  readonly now: number;
  /** For each endpoint; 10,000 unless given. */
  readonly timeoutMs?: number;
}

/**
 * Fetched, checked, and kept nowhere: what verification goes by is the issue in force.
 * @throws AttestError `collateral-unavailable` where no endpoint has it, with what each said
 */
export async function fetchCollateralIssue(
  quote: Quote,
  issue: TcbIssue,
  options: CollateralIssueOptions,
): Promise<{ readonly checked: CheckedCollateral; readonly server: string }> {
  const { endpoints, trustAnchor, now, timeoutMs = 10_000 } = options;
  const platform = platformOf(quote);
  const failures: string[] = [];
  for (const url of endpoints) {
    try {
      const client = new ProvisioningClient({ url, trustAnchor, fetch: streamedFetch });
      const collateral = await client.collateralOf(platform, AbortSignal.timeout(timeoutMs), issue);
      const checked = checkCollateral(collateral, trustAnchor);
      const problem = firstFailure(checked.checksAt(now)) ?? otherIssue(checked, issue);
      if (problem === undefined) return { checked, server: client.host };
      failures.push(`collateral server ${client.host}: ${problem}`);
    } catch (error) {
      if (!(error instanceof AttestError)) throw error;
      failures.push(error.message);
    }
  }
  throw new AttestError("collateral-unavailable", failures.join("; "));
}

/** A cache may pass over what it does not know, and answer with the issue in force. */
function otherIssue({ documents }: CheckedCollateral, issue: TcbIssue): string | undefined {
  const { evaluationDataNumber } = documents.tcbInfo;
  return typeof issue === "number" && evaluationDataNumber !== issue
    ? `asked for TCB evaluation ${issue}, answered with ${evaluationDataNumber}`
    : undefined;
}
