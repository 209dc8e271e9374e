import { randomBytes } from "node:crypto";
import { utf8 } from "@dstack/bytes";
import { customReportData, encodeEventLogJson, fullEventLog } from "@dstack/attest";
import { kdf, p256FromScalar, pkcs8Pem } from "@dstack/keys";
import { agent as proto } from "@dstack/proto";
import { route, type RpcService } from "@dstack/rpc";
import { AGENT_VERSION, type Agent } from "../agent.ts";
import { buildAppInfo } from "../app-info.ts";
import { deriveAppKey, parseKeyAlgorithm } from "../derive-app-key.ts";

/** The older interface of the agent, which containers built for it still call. */
export function tappdService(agent: Agent): RpcService<null, "app"> {
  const { keys, issuer } = agent;
  const methods = proto.Tappd.method;
  const auth = "app";
  return {
    prefixes: ["Tappd."],
    authenticate: async () => null,
    bareErrors: true,
    log: agent.log,
    routes: [
      route(methods.info, { auth, handle: () => buildAppInfo(agent, "internal") }),
      route(methods.version, { auth, handle: async () => AGENT_VERSION }),
      route(methods.deriveKey, {
        auth,
        handle: async (request) => {
          const key = p256FromScalar(kdf(request.randomSeed ? randomBytes(32) : keys.k256Key, [utf8(request.path)]));
          const certificateChain = await issuer.issue(key, {
            subject: request.subject,
            altNames: request.altNames,
            serverAuth: request.usageServerAuth,
            clientAuth: request.usageClientAuth,
            withEvidence: request.usageRaTls,
            withAppInfo: false,
          });
          return { key: pkcs8Pem(key), certificateChain: [...certificateChain] };
        },
      }),
      route(methods.deriveK256Key, {
        auth,
        handle: async ({ path, purpose, algorithm }) => {
          const { key, signatureChain } = deriveAppKey(keys, path, purpose, parseKeyAlgorithm(algorithm));
          return { k256Key: key, k256SignatureChain: [...signatureChain] };
        },
      }),
      route(methods.tdxQuote, {
        auth,
        handle: (request) => tdxQuote(agent, request.reportData, request.hashAlgorithm, request.prefix),
      }),
      route(methods.rawQuote, { auth, handle: (request) => tdxQuote(agent, request.reportData, "raw", "") }),
    ],
  };
}

interface TdxQuoteAnswer {
  readonly quote: Uint8Array;
  readonly eventLog: string;
  readonly hashAlgorithm: string;
  readonly prefix: string;
}

async function tdxQuote(
  { tee, vmConfig }: Agent,
  content: Uint8Array,
  hash: string,
  prefix: string,
): Promise<TdxQuoteAnswer> {
  const tag = prefix === "" ? "app-data" : prefix;
  const attestation = await tee.attest(customReportData(tag, content, hash), vmConfig);
  return {
    quote: attestation.platform.quote,
    eventLog: encodeEventLogJson(fullEventLog(attestation)),
    hashAlgorithm: hash === "" ? "sha512" : hash,
    prefix: hash === "raw" ? "" : tag,
  };
}
