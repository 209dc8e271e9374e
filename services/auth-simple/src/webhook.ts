import type { ServerResponse } from "node:http";
import type { Logger } from "@dstack/log";
import { readBody, RpcError, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { utf8Decode } from "@dstack/bytes";
import { decide, GovernanceError, parseBootInfo, type BootInfo, type BootKind } from "@dstack/governance";
import type { ConfigFile } from "./config-file.ts";

/** Event logs of older key servers travel in the request, so the limit is generous. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

/** The routes of the webhook. None asks who calls: the service belongs on loopback or a private network. */
export function webhookRoutes(file: ConfigFile, log: Logger): HttpRoute[] {
  return [
    { verbs: ["GET"], path: "/", handle: (exchange) => info(file, exchange) },
    { verbs: ["GET"], path: "/healthz", handle: ({ response }) => Promise.resolve(text(response, "OK\n")) },
    { verbs: ["GET"], path: "/health", handle: ({ response }) => Promise.resolve(text(response, "OK\n")) },
    { verbs: ["POST"], path: "/bootAuth/app", handle: (exchange) => bootAuth("app", file, log, exchange) },
    { verbs: ["POST"], path: "/bootAuth/kms", handle: (exchange) => bootAuth("kms", file, log, exchange) },
  ];
}

async function info(file: ConfigFile, { response }: HttpExchange): Promise<void> {
  const { config, configError } = await file.current();
  json(response, 200, {
    status: "ok",
    kmsContractAddr: config.kmsContractAddr,
    gatewayAppId: config.gatewayAppId,
    chainId: config.chainId,
    appAuthImplementation: config.appImplementation,
    appImplementation: config.appImplementation,
    ...(configError === undefined ? {} : { configError }),
  });
}

async function bootAuth(kind: BootKind, file: ConfigFile, log: Logger, { request, response, requestId }: HttpExchange): Promise<void> {
  let boot: BootInfo;
  try {
    boot = parseBootInfo(utf8Decode(await readBody(request, MAX_REQUEST_BYTES), "request"));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    log.warn({ requestId, error: message }, `${kind === "kms" ? "KMS" : "app"} boot auth request is malformed`);
    if (error instanceof RpcError) response.setHeader("connection", "close");
    json(response, 400, { success: false, error: { name: error instanceof GovernanceError ? error.code : "request-invalid", message } });
    return;
  }
  const label = kind === "kms" ? "KMS" : "app";
  const identity = { requestId, appId: boot.appId, composeHash: boot.composeHash, instanceId: boot.instanceId, deviceId: boot.deviceId, osImageHash: boot.osImageHash, mrAggregated: boot.mrAggregated, mrSystem: boot.mrSystem, tcbStatus: boot.tcbStatus, advisoryIds: boot.advisoryIds };
  log.info(identity, `${label} boot auth request:`);
  try {
    const { config } = await file.current();
    const decision = decide(config, kind, boot);
    if (decision.isAllowed) {
      if (kind === "kms" && config.kms.mrAggregated === "any") log.warn({ requestId, mrAggregated: boot.mrAggregated }, "KMS is allowed because kms.mrAggregated is absent");
      log.info({ requestId }, `${label} is allowed to boot`);
      json(response, 200, { isAllowed: true, reason: "", gatewayAppId: config.gatewayAppId });
      return;
    }
    const { reason, rule, field } = decision;
    log.warn({ requestId, reason, rule, field, value: boot[field] }, `${label} is not allowed to boot`);
    json(response, 200, { isAllowed: false, reason, gatewayAppId: config.gatewayAppId, rule, field });
  } catch (error) {
    log.error({ requestId, error: error instanceof Error ? error.message : String(error) }, "decision failed");
    json(response, 200, { isAllowed: false, gatewayAppId: "", reason: error instanceof Error ? error.message : "decision failed" });
  }
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function text(response: ServerResponse, value: string): void {
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end(value);
}
