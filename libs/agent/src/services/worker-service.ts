import { encodeEventLogJson, fullEventLog, padReportData } from "@dstack/attest";
import { utf8 } from "@dstack/bytes";
import { agent as proto } from "@dstack/proto";
import { route, RpcError, type RpcService } from "@dstack/rpc";
import { AGENT_VERSION, type Agent } from "../agent.ts";
import { buildAppInfo } from "../app-info.ts";
import { deriveAppKey } from "../derive-app-key.ts";
import type { QuoteGate } from "../quote-gate.ts";

/** What anybody may ask on the public port. */
export function workerService(agent: Agent, gate: QuoteGate): RpcService<null, "public"> {
  const methods = proto.Worker.method;
  const auth = "public";
  return {
    prefixes: ["Worker."],
    authenticate: async () => null,
    bareErrors: true,
    json: { omitWhenEmpty: ["attestation"] },
    log: agent.log,
    routes: [
      route(methods.info, {
        auth,
        bodyLimitBytes: 4096,
        handle: () => gate(() => buildAppInfo(agent, "external")),
      }),
      route(methods.version, { auth, bodyLimitBytes: 4096, handle: async () => AGENT_VERSION }),
      route(methods.getAttestationForAppKey, {
        auth,
        bodyLimitBytes: 4096,
        handle: ({ algorithm }) =>
          gate(async () => {
            const reportData = padReportData(utf8(appKeyStatement(agent, algorithm)));
            const attestation = await agent.tee.attest(reportData, agent.vmConfig);
            return {
              quote: attestation.platform.quote,
              eventLog: encodeEventLogJson(fullEventLog(attestation)),
              reportData,
              vmConfig: agent.vmConfig,
            };
          }),
      }),
    ],
  };
}

/** Names the app's signing key in 64 characters, which become the quote's report data. */
export function appKeyStatement({ keys }: Pick<Agent, "keys">, algorithm: string): string {
  const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
  if (algorithm === "ed25519")
    return `dip1::ed25519-pk:${base64url(deriveAppKey(keys, "vms", "signing", "ed25519").publicKey)}`;
  if (algorithm === "secp256k1" || algorithm === "k256")
    return `dip1::secp256k1c-pk:${base64url(deriveAppKey(keys, "vms", "signing", "secp256k1").publicKey)}`;
  throw new RpcError("bad-request", "Unsupported algorithm");
}
