import { toHex } from "@dstack/bytes";
import type { AppInfo, QuoteClaims, TdReport } from "@dstack/attest";
import type { SentBootInfo } from "@dstack/governance";

/** A caller whose evidence has been verified. */
export interface VerifiedEvidence {
  readonly quote: QuoteClaims;
  readonly report: TdReport;
}

/**
 * What the webhook is told, as the union of what all released versions send. Everything comes
 * from verified evidence, but for the image hash, which the measurements must still confirm.
 */
export function bootInfoJson({ quote, report }: VerifiedEvidence, info: AppInfo): SentBootInfo {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmr;
  return {
    teeVariant: "dstack-tdx",
    attestationMode: "dstack-tdx",
    mrtd: toHex(report.mrTd),
    rtmr0: toHex(rtmr0),
    rtmr1: toHex(rtmr1),
    rtmr2: toHex(rtmr2),
    rtmr3: toHex(rtmr3),
    mrAggregated: toHex(info.mrAggregated),
    osImageHash: toHex(info.osImageHash),
    mrSystem: toHex(info.mrSystem),
    appId: toHex(info.appId),
    composeHash: toHex(info.composeHash),
    instanceId: toHex(info.instanceId),
    deviceId: toHex(info.deviceId),
    keyProviderInfo: toHex(info.keyProviderInfo),
    tcbStatus: quote.status,
    advisoryIds: [...quote.advisoryIds],
  };
}
