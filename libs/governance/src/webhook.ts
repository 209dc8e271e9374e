import type { ServerResponse } from "node:http";
import { utf8Decode } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { errorChain, excerpt, isCoded } from "@dstack/errors";
import { readBody, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import type { BootInfo, BootKind } from "./boot-info.ts";
import { GovernanceError } from "./errors.ts";

/** Event logs of older key servers travel in the request, so the limit is generous. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

/** What a backend decides, with what it rests on. */
export interface WebhookDecision {
  readonly isAllowed: boolean;
  /** Empty when allowed. */
  readonly reason: string;
  /** Which gateway apps trust; a list, "any", or nothing. */
  readonly gatewayAppId: string;
  /** The part of the policy that decided, and the member of the request that it looked at. */
  readonly rule?: string;
  readonly field?: keyof BootInfo;
  /** Further members of the answer, such as the block that was read. */
  readonly basis?: Readonly<Record<string, unknown>>;
  /** What the operator should know though it was allowed. */
  readonly warning?: string;
}

/** Where decisions come from: a file, a contract. */
export interface WebhookBackend {
  /** The members of `GET /` beside `status`. @throws Error: answered as 500 with `failure` */
  info(): Promise<Readonly<Record<string, unknown>>>;
  /** @throws GovernanceError `request-invalid` */
  parse(body: string): BootInfo;
  /** @throws Error: answered as a denial with `failure` */
  decide(kind: BootKind, boot: BootInfo): Promise<WebhookDecision>;
  /** Body of the 400 answer to a malformed request. */
  malformed(error: GovernanceError): object;
  /** What clients are told of an error inside; the log has the whole. */
  failure(error: unknown): string;
}

/**
 * The routes of an authorization webhook: `GET /`, `/health`, `/healthz`, `POST /bootAuth/app`, `POST /bootAuth/kms`.
 * Policy denials and failures of the backend are 200 with `isAllowed` false; a malformed request is 400.
 * None asks who calls: the service belongs on loopback or a private network, or behind `bearerGuard`.
 */
export function webhookRoutes(backend: WebhookBackend, log: Logger): HttpRoute[] {
  const healthy: HttpRoute["handle"] = ({ response }) => {
    response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end("OK\n");
    return Promise.resolve();
  };
  return [
    { verbs: ["GET"], path: "/", handle: (exchange) => info(backend, log, exchange) },
    { verbs: ["GET"], path: "/healthz", handle: healthy },
    { verbs: ["GET"], path: "/health", handle: healthy },
    { verbs: ["POST"], path: "/bootAuth/app", handle: (exchange) => bootAuth("app", backend, log, exchange) },
    { verbs: ["POST"], path: "/bootAuth/kms", handle: (exchange) => bootAuth("kms", backend, log, exchange) },
  ];
}

async function info(backend: WebhookBackend, log: Logger, { response, requestId }: HttpExchange): Promise<void> {
  try {
    json(response, 200, { status: "ok", ...(await backend.info()) });
  } catch (error) {
    log.error({ requestId, error: errorChain(error) }, "no information");
    json(response, 500, { status: "error", message: backend.failure(error), request_id: requestId });
  }
}

async function bootAuth(
  kind: BootKind,
  backend: WebhookBackend,
  log: Logger,
  { request, response, requestId }: HttpExchange,
): Promise<void> {
  const label = kind === "kms" ? "KMS" : "app";
  let boot: BootInfo;
  try {
    boot = backend.parse(utf8Decode(await readBody(request, MAX_REQUEST_BYTES), "request"));
  } catch (error) {
    if (isCoded(error, "payload-too-large")) throw error;
    const reason =
      error instanceof GovernanceError
        ? error
        : new GovernanceError("request-invalid", error instanceof Error ? error.message : String(error));
    log.warn({ requestId, error: excerpt(reason.message) }, `${label} boot auth request is malformed`);
    json(response, 400, { ...backend.malformed(reason), request_id: requestId });
    return;
  }
  // Operators copy measurements from this line.
  log.info({ requestId, ...boot, advisoryIds: excerpt(boot.advisoryIds.join(" ")) }, `${label} boot auth request:`);
  try {
    const { isAllowed, reason, gatewayAppId, rule, field, basis, warning } = await backend.decide(kind, boot);
    if (warning !== undefined) log.warn({ requestId }, warning);
    if (isAllowed) log.info({ requestId, ...basis }, `${label} is allowed to boot`);
    else
      log.warn(
        {
          requestId,
          reason,
          rule,
          field,
          value: field === undefined ? undefined : excerpt(String(boot[field])),
          ...basis,
        },
        `${label} is not allowed to boot`,
      );
    json(response, 200, { isAllowed, reason, gatewayAppId, rule, field, ...basis });
  } catch (error) {
    log.error({ requestId, error: errorChain(error) }, "decision failed");
    json(response, 200, { isAllowed: false, gatewayAppId: "", reason: backend.failure(error) });
  }
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}
