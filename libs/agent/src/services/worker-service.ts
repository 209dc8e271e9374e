import { encodeEventLogJson, fullEventLog, padReportData } from "@dstack/attest";
import { utf8 } from "@dstack/bytes";
import { agent } from "@dstack/proto";
import { route, RpcError, type RpcService } from "@dstack/rpc";
import { AGENT_VERSION, type AgentState } from "./agent-state.ts";
import { buildAppInfo } from "./app-info-message.ts";
import { deriveAppKey } from "./app-keys-derivation.ts";
import type { DemoCertificate } from "./demo-certificate.ts";
import type { QuoteGate } from "./quote-gate.ts";

/** What anybody may ask on the public port. */
export function workerService(state: AgentState, demo: DemoCertificate, gate: QuoteGate): RpcService<null, "public"> {
  const methods = agent.Worker.method;
  const auth = "public";
  return {
    prefixes: ["Worker."],
    authenticate: async () => null,
    json: { omitWhenEmpty: ["attestation"] },
    log: state.log,
    routes: [
      route(methods.info, {
        auth,
        bodyLimitBytes: 4096,
        handle: () => gate(() => buildAppInfo(state, demo, "external")),
      }),
      route(methods.version, { auth, bodyLimitBytes: 4096, handle: async () => AGENT_VERSION }),
      route(methods.getAttestationForAppKey, {
        auth,
        bodyLimitBytes: 4096,
        handle: ({ algorithm }) =>
          gate(async () => {
            const reportData = padReportData(utf8(appKeyStatement(state, algorithm)));
            const attestation = await state.tee.attest(reportData, state.systemConfig.vmConfig);
            return {
              quote: attestation.platform.quote,
              eventLog: encodeEventLogJson(fullEventLog(attestation)),
              reportData,
              vmConfig: state.systemConfig.vmConfig,
            };
          }),
      }),
    ],
  };
}

/** Names the app's signing key in 64 characters, which become the quote's report data. */
export function appKeyStatement(state: Pick<AgentState, "keys">, algorithm: string): string {
  const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
  if (algorithm === "ed25519")
    return `dip1::ed25519-pk:${base64url(deriveAppKey(state.keys, "vms", "signing", "ed25519").publicKey)}`;
  if (algorithm === "secp256k1" || algorithm === "k256")
    return `dip1::secp256k1c-pk:${base64url(deriveAppKey(state.keys, "vms", "signing", "secp256k1").publicKey)}`;
  throw new RpcError("bad-request", "Unsupported algorithm");
}
