import { parseHex, toHex, utf8Decode } from "@dstack/bytes";
import { encodeAttestation, encodeEventLogJson, evidenceReportData, fullEventLog } from "@dstack/attest";
import { RpcError } from "@dstack/rpc";
import type { AgentPorts } from "./ports.ts";

const MAX_NONCE_BYTES = 32;

/**
 * All that a verifier needs, made for its nonce.
 * @throws RpcError `bad-request`
 */
export async function buildEvidence({ manifest, vmConfig, tee }: AgentPorts, nonceHex: string): Promise<string> {
  const nonce = parseNonce(nonceHex);
  const attestation = await tee.attest(evidenceReportData(nonce), vmConfig);
  return JSON.stringify({
    quote: toHex(attestation.platform.quote),
    event_log: encodeEventLogJson(fullEventLog(attestation)),
    report_data: toHex(attestation.reportData),
    vm_config: vmConfig,
    attestation: toHex(encodeAttestation(attestation)),
    app_compose: utf8Decode(manifest.bytes),
  });
}

function parseNonce(hex: string): Uint8Array {
  try {
    const nonce = parseHex(hex, "nonce");
    if (nonce.length === 0 || nonce.length > MAX_NONCE_BYTES)
      throw new Error(`expected 1 to ${MAX_NONCE_BYTES} bytes, got ${nonce.length}`);
    return nonce;
  } catch (cause) {
    throw new RpcError("bad-request", `nonce: expected 1 to ${MAX_NONCE_BYTES} bytes in hex`, { cause });
  }
}
