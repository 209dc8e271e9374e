import { z } from "zod";
import { parseHex, parseHexOfLength, toHex, type ReportData, reportData as asReportData } from "@dstack/bytes";
import { attestationFromQuote, customReportData, type Attestation } from "@dstack/attest";
import { CliError } from "../errors.ts";
import { getThroughGateway, type GatewayAnswer } from "../gateway-client.ts";

/** What a guest serves at /evidence on its agent port. */
const EvidenceAnswer = z.object({ quote: z.string(), event_log: z.string(), report_data: z.string(), vm_config: z.string(), app_compose: z.string() });

export interface Evidence {
  readonly attestation: Attestation;
  readonly vmConfig: string;
  /** Text of app-compose.json as the guest claims it; only its hash is proven. */
  readonly appCompose: string;
  /** What fresh evidence must carry for the nonce that was sent. */
  readonly expectedReportData: ReportData;
  readonly transport: GatewayAnswer;
}

export interface EvidenceRequest {
  readonly appUrl: URL;
  readonly caFile: string | undefined;
  readonly nonce: Uint8Array;
  readonly agentPort: number;
  readonly timeoutMs: number;
}

/**
 * Fetches evidence made for this nonce, through the same gateway as the app.
 * @throws CliError when there is none
 */
export async function fetchEvidence(request: EvidenceRequest): Promise<Evidence> {
  const url = new URL(`/evidence?nonce=${toHex(request.nonce)}`, request.appUrl);
  url.hostname = agentHost(request.appUrl.hostname, request.agentPort);
  const transport = await getThroughGateway({ url, caFile: request.caFile, timeoutMs: request.timeoutMs });
  if (transport.status !== 200) {
    throw new CliError("failed", `no evidence at ${url.host}: ${transport.status} ${transport.body.trim().slice(0, 200)}`, { hint: "the app may have switched public_tcbinfo off, or its gateway hides port 8090" });
  }
  const parsed = EvidenceAnswer.safeParse(json(transport.body));
  if (!parsed.success) throw new CliError("failed", `the evidence at ${url.host} is malformed: ${z.prettifyError(parsed.error)}`);
  const { quote, event_log, report_data, vm_config, app_compose } = parsed.data;
  const claimed = asReportData(parseHexOfLength(report_data, 64, "report_data"));
  return {
    attestation: { ...attestationFromQuote(parseHex(quote, "quote"), event_log, vm_config), reportData: claimed },
    vmConfig: vm_config,
    appCompose: app_compose,
    expectedReportData: customReportData("dstack-evidence", request.nonce),
    transport,
  };
}

/** The agent's name beside an app's: `<id>-8090.<domain>` whatever port and mode the app's URL has. */
export function agentHost(hostname: string, agentPort: number): string {
  const [label = "", ...domain] = hostname.split(".");
  return [`${label.split("-")[0]}-${agentPort}`, ...domain].join(".");
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
