import { access } from "node:fs/promises";
import { equalBytes, type ReportData } from "@dstack/bytes";
import { attestationFromQuote, decodeAttestation, type Attestation } from "@dstack/attest";
import { agent } from "@dstack/proto";
import { asRefusal } from "@dstack/errors";
import { callRpc, httpTransport, remoteSaid, RpcError, type RpcTransport } from "@dstack/rpc";
import { KmsError } from "../errors.ts";

/** The agent of the guest OS that this KMS runs in: the only one who can have quotes made. */
export interface GuestAgent {
  /** Evidence of this VM over 64 bytes. @throws KmsError `agent-unavailable` */
  attest(reportData: ReportData): Promise<Attestation>;
  /** vm_config of this VM, JSON text. @throws KmsError `agent-unavailable` */
  vmConfig(): Promise<string>;
}

/** Where the guest OS puts the agent's socket, newest place first. */
const SOCKETS = ["/var/run/dstack/dstack.sock", "/var/run/dstack.sock"] as const;
const TIMEOUT_MS = 30_000;

/** @param address `unix:PATH` or an http URL; undefined for the sockets of the guest OS */
export function guestAgent(address: string | undefined): GuestAgent {
  const methods = agent.DstackGuest.method;
  const ask = async <T>(what: string, call: (transport: RpcTransport) => Promise<T>): Promise<T> => {
    const place = address ?? `unix:${await firstSocket()}`;
    const transport = transportTo(place);
    return asRefusal(
      () => call(transport),
      (cause) =>
        new KmsError(
          "agent-unavailable",
          `guest agent at ${place}: ${what} failed. A KMS outside a TEE has none: set core.attest_rpc_cert and core.enforce_self_authorization to false there; in a guest, mount the agent's socket or set DSTACK_AGENT_ADDRESS`,
          { cause },
        ),
    );
  };
  return {
    attest: (reportData) =>
      ask("Attest", async (transport) => {
        const attestation = await attest(transport, reportData);
        if (!equalBytes(attestation.reportData, reportData))
          throw new RpcError("remote-error", "the evidence is over other report data than was asked for");
        return attestation;
      }),
    vmConfig: () =>
      ask(
        "Info",
        async (transport) => (await callRpc(transport, methods.info, {}, { timeoutMs: TIMEOUT_MS })).vmConfig,
      ),
  };
}

async function attest(transport: RpcTransport, reportData: ReportData): Promise<Attestation> {
  const methods = agent.DstackGuest.method;
  try {
    return decodeAttestation(
      (await callRpc(transport, methods.attest, { reportData }, { timeoutMs: TIMEOUT_MS })).attestation,
    );
  } catch (error) {
    // Agents of 0.5.5 know the pair of quote and event log alone.
    if (!(error instanceof RpcError && error.facts.status === 404) && !remoteSaid(error, /not found/i)) throw error;
  }
  const answer = await callRpc(transport, methods.getQuote, { reportData }, { timeoutMs: TIMEOUT_MS });
  return attestationFromQuote(answer.quote, answer.eventLog, answer.vmConfig);
}

function transportTo(address: string): RpcTransport {
  if (address.startsWith("unix:"))
    return httpTransport({ baseUrl: "http://localhost", socketPath: address.slice("unix:".length) });
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol)) {
    throw new KmsError(
      "config-invalid",
      `DSTACK_AGENT_ADDRESS: expected unix:PATH or an http URL, got ${URL.canParse(address) ? `one of ${new URL(address).protocol}` : "no URL"}`,
    );
  }
  return httpTransport({ baseUrl: address });
}

async function firstSocket(): Promise<string> {
  for (const path of SOCKETS) {
    const exists = await access(path).then(
      () => true,
      () => false,
    );
    if (exists) return path;
  }
  return SOCKETS[0];
}
