/** A guest agent on a Unix socket whose quotes the harness's PKI signs: what a KMS finds in its VM. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { parseHex, reportData, toHex } from "@dstack/bytes";
import { appInfo, encodeAttestation, type RuntimeEvent } from "@dstack/attest";
import type { Guest, Harness } from "./harness.ts";

export interface MockAgent {
  /** For DSTACK_AGENT_ADDRESS. */
  readonly address: string;
  /** Hex, as allow-lists name it. */
  readonly mrAggregated: string;
  readonly vmConfig: string;
  /** How many quotes were made. */
  readonly quotes: () => number;
  /** Evidence is over this instead of what is asked for. */
  answerFor: ((asked: Uint8Array) => Uint8Array) | undefined;
  /** Whether its evidence names no VM configuration. */
  withoutConfig: boolean;
  close(): void;
}

/** @param instance one hex digit: another one makes another aggregated measurement */
export async function startMockAgent(harness: Harness, path: string, instance: string): Promise<MockAgent> {
  const event = (name: string, payload: Uint8Array): RuntimeEvent => ({ event: name, payload });
  const events = [
    event("system-preparing", new Uint8Array()),
    event("app-id", parseHex("4b".repeat(20))),
    event("compose-hash", parseHex("cc".repeat(32))),
    event("instance-id", parseHex(instance.repeat(40))),
    event("boot-mr-done", new Uint8Array()),
    event("system-ready", new Uint8Array()),
  ];
  let quotes = 0;
  const evidence = (bytes: Uint8Array): Guest => harness.guest({ events, reportData: reportData(bytes) });
  const { attestation, vmConfig } = evidence(new Uint8Array(64));
  const server: Server = createServer((request, response) => {
    answer(request).then(
      (json) =>
        json === undefined
          ? response.writeHead(400).end('{"error":"Service not found"}')
          : response.end(JSON.stringify(json)),
      () => response.destroy(),
    );
  });
  const answer = async (request: IncomingMessage): Promise<object | undefined> => {
    let body = "";
    for await (const chunk of request) body += (chunk as Buffer).toString();
    switch (request.url) {
      case "/Attest?json": {
        quotes++;
        const asked = parseHex((JSON.parse(body) as { report_data: string }).report_data);
        const { attestation: made } = evidence(agent.answerFor?.(asked) ?? asked);
        return { attestation: toHex(encodeAttestation(agent.withoutConfig ? { ...made, config: "" } : made)) };
      }
      case "/Info?json":
        return { vm_config: vmConfig };
      default:
        return undefined;
    }
  };
  const agent: MockAgent = {
    address: `unix:${path}`,
    mrAggregated: toHex(appInfo({ attestation }).mrAggregated),
    vmConfig,
    quotes: () => quotes,
    answerFor: undefined,
    withoutConfig: false,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return agent;
}
