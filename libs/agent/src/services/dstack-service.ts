/**
 * services/ is what may be asked, one table of routes for each who asks: the app, in today's words (this file) and in
 * older ones, anybody, and the host.
 * In: requests that the RPC layer has parsed; the agent they are about.
 * Out: answers in the fields of the published interface.
 * Never: an answer to somebody that is only another's to ask.
 */
import { randomBytes } from "node:crypto";
import { utf8 } from "@dstack/bytes";
import { BOOT_EVENTS, encodeAttestation, encodeEventLogJson, fullEventLog, padReportData } from "@dstack/attest";
import { kdf, p256FromScalar, pkcs8Pem } from "@dstack/keys";
import { agent as proto } from "@dstack/proto";
import { route, RpcError, type RpcService } from "@dstack/rpc";
import { AGENT_VERSION, type Agent } from "../agent.ts";
import { buildAppInfo } from "../app-info.ts";
import { deriveAppKey, parseKeyAlgorithm } from "../derive-app-key.ts";

const MAX_EVENT_PAYLOAD_BYTES = 65_536;
/** 9999-12-31T23:59:59Z. */
const LAST_MOMENT = 253_402_300_799n;

/** What the app's containers may ask on /var/run/dstack.sock; whoever reaches the socket is the app. */
export function dstackService(agent: Agent): RpcService<null, "app"> {
  const { keys, tee, issuer, vmConfig } = agent;
  const methods = proto.DstackGuest.method;
  const auth = "app";
  return {
    prefixes: ["DstackGuest.", "dstack_guest."],
    authenticate: async () => null,
    bareErrors: true,
    json: { omitWhenEmpty: ["attestation"] },
    log: agent.log,
    routes: [
      route(methods.info, { auth, handle: () => buildAppInfo(agent, "internal") }),
      route(methods.version, { auth, handle: async () => AGENT_VERSION }),
      route(methods.getKey, {
        auth,
        handle: async ({ path, purpose, algorithm }) => {
          const { key, signatureChain } = deriveAppKey(keys, path, purpose, parseKeyAlgorithm(algorithm));
          return { key, signatureChain: [...signatureChain] };
        },
      }),
      route(methods.getTlsKey, {
        auth,
        handle: async (request) => {
          const notBefore = certificateDate(request.notBefore, "not_before");
          const notAfter = certificateDate(request.notAfter, "not_after");
          if (notBefore !== undefined && notAfter !== undefined && notBefore >= notAfter)
            throw new RpcError("bad-request", "not_before must be earlier than not_after");
          const key = p256FromScalar(kdf(randomBytes(32), []));
          const certificateChain = await issuer.issue(key, {
            subject: request.subject,
            altNames: request.altNames,
            serverAuth: request.usageServerAuth,
            clientAuth: request.usageClientAuth,
            withEvidence: request.usageRaTls,
            withAppInfo: request.withAppInfo,
            ...(notBefore === undefined ? {} : { notBefore }),
            ...(notAfter === undefined ? {} : { notAfter }),
          });
          return { key: pkcs8Pem(key), certificateChain: [...certificateChain] };
        },
      }),
      route(methods.getQuote, {
        auth,
        handle: async (request) => {
          const reportData = padReportData(request.reportData);
          const attestation = await tee.attest(reportData, vmConfig);
          return {
            quote: attestation.platform.quote,
            eventLog: encodeEventLogJson(fullEventLog(attestation)),
            reportData,
            vmConfig,
          };
        },
      }),
      route(methods.attest, {
        auth,
        handle: async (request) => ({
          attestation: encodeAttestation(await tee.attest(padReportData(request.reportData), vmConfig)),
        }),
      }),
      route(methods.emitEvent, {
        auth,
        handle: async ({ event, payload }) => {
          checkAppEvent(event, payload);
          await tee.emit(event, payload);
          return {};
        },
      }),
    ],
  };
}

/**
 * An app may add to its log, but never under a name that boot uses, and never with a ":" that
 * would let two different events have one digest.
 * @throws RpcError `bad-request`
 */
export function checkAppEvent(event: string, payload: Uint8Array): void {
  if (event === "" || utf8(event).length > 128 || /[:\p{Cc}]/u.test(event))
    throw new RpcError("bad-request", "event name: expected 1 to 128 bytes without ':' and control characters");
  if (BOOT_EVENTS.has(event)) throw new RpcError("bad-request", `event name "${event}" is reserved for the system`);
  if (payload.length > MAX_EVENT_PAYLOAD_BYTES)
    throw new RpcError("bad-request", `event payload: ${payload.length} bytes, at most ${MAX_EVENT_PAYLOAD_BYTES}`);
}

// Any 64-bit number may come; one that no certificate can carry must not get further (DS #1232).
function certificateDate(seconds: bigint | undefined, name: string): number | undefined {
  if (seconds === undefined) return undefined;
  if (seconds > LAST_MOMENT) throw new RpcError("bad-request", `${name}: ${seconds} is after the year 9999`);
  return Number(seconds);
}
