import type { DocumentKind, TrustAnchor } from "@dstack/attest";
import type { CollateralSource } from "@dstack/attest/node";
import { errorChain } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { PlatformCount } from "@dstack/verify";

/** A guest that can be asked for the certificate of its agent, which shows evidence. */
export interface AskedGuest {
  readonly id: string;
  /** PEM, leaf first. */
  readonly certificate: () => Promise<string>;
}

export interface PlatformsOptions {
  /** Those that run now. */
  readonly guests: () => readonly AskedGuest[];
  readonly collateral: CollateralSource & { daysLeft(): ReadonlyMap<DocumentKind, number> };
  readonly trustAnchor: TrustAnchor;
  /** Milliseconds. */
  readonly clock: { now(): number };
  readonly log: Logger;
}

export interface Platforms {
  /** What is known now. Asks the guests anew, without being waited for, where that is some minutes ago. */
  counts(): readonly PlatformCount[];
  /** Until the first document of each kind ends that a judgement here rests on. */
  daysLeft(): ReadonlyMap<DocumentKind, number>;
  /** Once the round that goes on, if any, is over. */
  settled(): Promise<void>;
}

const ROUND_MS = 5 * 60_000;

/**
 * How current this machine's platform is, by the evidence of its guests: all that a host can prove of itself. Only
 * evidence that holds counts, so a guest can hide its platform and never make one up.
 */
export async function watchPlatforms(options: PlatformsOptions): Promise<Platforms> {
  const { guests, clock, log } = options;
  const { SeenPlatforms } = await import("@dstack/verify");
  const seen = new SeenPlatforms(clock);
  let lastRoundMs = Number.NEGATIVE_INFINITY;
  let round: Promise<void> | undefined;
  const askAll = async (): Promise<void> => {
    for (const guest of guests()) {
      try {
        seen.saw(await judge(await guest.certificate(), options));
      } catch (error) {
        log.debug({ vm: guest.id, error: errorChain(error) }, "a guest's evidence says nothing of the platform");
      }
    }
  };
  return {
    counts: () => {
      const nowMs = clock.now();
      if (round === undefined && Math.abs(nowMs - lastRoundMs) >= ROUND_MS) {
        lastRoundMs = nowMs;
        round = askAll().finally(() => {
          round = undefined;
        });
      }
      return seen.counts();
    },
    daysLeft: () => options.collateral.daysLeft(),
    settled: async () => round,
  };
}

async function judge(
  certificate: string,
  { collateral, trustAnchor, clock }: PlatformsOptions,
): Promise<Parameters<InstanceType<typeof import("@dstack/verify").SeenPlatforms>["saw"]>[0]> {
  const [{ readPem }, { expectedReportData, readDstackExtensions }, { verifyAttestation }] = await Promise.all([
    import("@dstack/der"),
    import("@dstack/ratls"),
    import("@dstack/attest/node"),
  ]);
  const [leaf] = readPem(certificate, "CERTIFICATE", "agent's certificate");
  if (leaf === undefined) throw new Error("the agent has no certificate yet");
  const extensions = readDstackExtensions(leaf);
  if (extensions.attestation === undefined) throw new Error("the agent's certificate shows no evidence");
  const verified = await verifyAttestation(extensions.attestation, {
    collateralSource: collateral,
    trustAnchor,
    now: Math.floor(clock.now() / 1000),
    expectedReportData: expectedReportData(extensions),
  });
  if (!verified.ok) throw new Error(verified.reason);
  return verified.quote;
}
