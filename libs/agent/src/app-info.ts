import { toHex, utf8Decode } from "@dstack/bytes";
import {
  appInfo,
  entryToJson,
  padReportData,
  parseQuote,
  runtimeEntries,
  tdReportOf,
  type Attestation,
} from "@dstack/attest";
import type { Agent } from "./agent.ts";

/** What `Info` answers, on every listener. */
export interface AppInfoMessage {
  readonly appId: Uint8Array;
  readonly instanceId: Uint8Array;
  readonly appCert: string;
  readonly tcbInfo: string;
  readonly appName: string;
  readonly deviceId: Uint8Array;
  readonly mrAggregated: Uint8Array;
  readonly osImageHash: Uint8Array;
  readonly keyProviderInfo: string;
  readonly composeHash: Uint8Array;
  readonly vmConfig: string;
  readonly cloudVendor: string;
  readonly cloudProduct: string;
}

/**
 * @param view `external` leaves out what the manifest does not make public
 * @throws whatever the TEE throws when no quote can be had
 */
export async function buildAppInfo(agent: Agent, view: "internal" | "external"): Promise<AppInfoMessage> {
  const { manifest, vmConfig, tee } = agent;
  const attestation = await tee.attest(padReportData(new Uint8Array()), vmConfig);
  const info = appInfo({ attestation, vmConfig });
  const product = await agent.machine.product();
  const isPublic = view === "internal" || manifest.compose.publicTcbinfo;
  return {
    appId: info.appId,
    instanceId: info.instanceId,
    appCert: agent.demo.current(),
    tcbInfo: isPublic ? tcbInfoJson(agent, attestation, info) : "",
    appName: manifest.compose.name,
    deviceId: info.deviceId,
    mrAggregated: info.mrAggregated,
    osImageHash: info.osImageHash,
    keyProviderInfo: utf8Decode(info.keyProviderInfo),
    composeHash: info.composeHash,
    vmConfig: isPublic ? vmConfig : "",
    cloudVendor: product.vendor,
    cloudProduct: product.name,
  };
}

/** Two-space JSON, members in alphabetical order: clients parse it, people read it. */
function tcbInfoJson({ manifest }: Agent, attestation: Attestation, info: ReturnType<typeof appInfo>): string {
  const report = tdReportOf(parseQuote(attestation.platform.quote));
  const [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmr;
  const firmware = attestation.platform.eventLog.filter((entry) => entry.imr !== 3);
  const value = {
    app_compose: utf8Decode(manifest.bytes),
    compose_hash: toHex(info.composeHash),
    device_id: toHex(info.deviceId),
    event_log: [...firmware, ...runtimeEntries(attestation.runtimeEvents)].map(entryToJson),
    mr_aggregated: toHex(info.mrAggregated),
    mrtd: toHex(report.mrTd),
    os_image_hash: toHex(info.osImageHash),
    rtmr0: toHex(rtmr0),
    rtmr1: toHex(rtmr1),
    rtmr2: toHex(rtmr2),
    rtmr3: toHex(rtmr3),
  };
  return JSON.stringify(value, null, 2);
}
