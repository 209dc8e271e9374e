import type { AgeLimit, QuotePolicy } from "./policy.ts";

/** What a policy demands, in one line for a log: operators see there whether it is what they meant. Lists of machines are counted. */
export function describePolicy(policy: QuotePolicy | undefined): string {
  if (policy === undefined) return "nothing beyond genuine evidence";
  const { acceptedStatuses, graceDays, acceptedAdvisories, minEvaluationNumber, maxCollateralAge = {} } = policy;
  const demands = [
    acceptedStatuses && `status ${acceptedStatuses.join(" or ") || "none"}`,
    graceDays === undefined ? undefined : `outdated for ${graceDays} days at most`,
    acceptedAdvisories && `advisories among ${acceptedAdvisories.length} that are accepted`,
    policy.acceptedPpids && `one of ${policy.acceptedPpids.length} machines`,
    policy.deniedPpids && `none of ${policy.deniedPpids.length} machines`,
    policy.acceptedFmspcs && `one of ${policy.acceptedFmspcs.length} FMSPCs`,
    minEvaluationNumber === undefined ? undefined : `evaluation ${minEvaluationNumber} or later`,
    ...Object.entries(maxCollateralAge).map(([kind, limit]) => `${kind} ${describeLimit(limit)}`),
  ];
  return demands.filter((demand) => demand !== undefined).join("; ");
}

const describeLimit = ({ warnDays, maxDays }: AgeLimit): string =>
  maxDays === undefined ? `warned of after ${warnDays} days` : `of ${maxDays} days at most`;
