import { describeShortfall, notBound, pass, type Outcome, type QuoteClaims, type QuotePolicy } from "@dstack/attest";
import { toHex } from "@dstack/bytes";
import type { Fact } from "./fact.ts";

export type PlatformClaims = Pick<QuoteClaims, "status" | "advisoryIds" | "relaunchAdvised" | "ppid" | "shortfall">;

/**
 * Whether known faults of the platform are closed. One that is not up to date proves no less which code was
 * started, and not any more that nobody looks inside: that stays open unless a policy or the caller takes it.
 */
export function judgeTcb(claims: PlatformClaims, policy: QuotePolicy | undefined): Outcome {
  const said = tcbText(claims);
  if (policy?.acceptedStatuses !== undefined) return pass(`${said}; the policy says whether that is accepted`);
  if (claims.status === "UpToDate") return pass(said);
  return notBound(said + needs(claims));
}

/** "OutOfDate, advisories INTEL-SA-00001". */
export const tcbText = ({ status, advisoryIds }: Pick<PlatformClaims, "status" | "advisoryIds">): string =>
  `${status}${advisoryIds.length === 0 ? "" : `, advisories ${advisoryIds.join(" ")}`}`;

/** What a reader must know about the hardware under what is verified. */
export function platformFacts(name: string, claims: PlatformClaims): Fact[] {
  const { status, advisoryIds, ppid } = claims;
  const value = `Intel TDX, TCB ${status}, platform ${toHex(ppid)}`;
  const facts: Fact[] = [
    status === "UpToDate" ? { name, value } : { name, value: value + needs(claims), warning: true },
  ];
  if (advisoryIds.length > 0)
    facts.push({
      name: "advisories",
      value: `Intel names for this platform: ${advisoryIds.join(", ")}`,
      warning: true,
    });
  return facts;
}

function needs({ relaunchAdvised, shortfall }: PlatformClaims): string {
  if (relaunchAdvised) return "; the platform is updated already: start the VM again to show it";
  return shortfall === undefined ? "; no level that Intel publishes is better" : `; ${describeShortfall(shortfall)}`;
}
