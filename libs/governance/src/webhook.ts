import type { KeyObject } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { utf8Decode } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { errorChain, excerpt, isCoded } from "@dstack/errors";
import { readBody, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import type { BootInfo, BootKind } from "./boot-info.ts";
import { GovernanceError } from "./errors.ts";
import { questionOf, signatureHeaders, type SignedQuestion, type WebhookRequestLine } from "./signed-answer.ts";
import { publicKeyHex } from "./signing-key.ts";

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
  /** Why what decides is not what the operator wrote last; undefined where it is, as where there is nothing to go wrong. */
  fault?(): Promise<string | undefined>;
  /** What clients are told of an error inside; the log has the whole. */
  failure(error: unknown): string;
}

export interface WebhookRoutesOptions {
  readonly backend: WebhookBackend;
  readonly log: Logger;
  /** Signs each answer to who sends a nonce; undefined: no answer is signed. */
  readonly key?: KeyObject | undefined;
}

/**
 * The routes of an authorization webhook: `GET /`, `/health`, `/healthz`, `/readyz`, `POST /bootAuth/app`, `POST /bootAuth/kms`.
 * Policy denials and failures of the backend are 200 with `isAllowed` false; a malformed request is 400.
 * None asks who calls: that is `bearerGuard`'s, where the service is not on loopback or a private network.
 */
export function webhookRoutes(options: WebhookRoutesOptions): HttpRoute[] {
  const healthy: HttpRoute["handle"] = ({ response }) => {
    response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end("OK\n");
    return Promise.resolve();
  };
  return [
    { verbs: ["GET"], path: "/", handle: (exchange) => info(options, exchange) },
    { verbs: ["GET"], path: "/healthz", handle: healthy },
    { verbs: ["GET"], path: "/health", handle: healthy },
    { verbs: ["GET"], path: "/readyz", handle: (exchange) => readiness(options, exchange) },
    { verbs: ["POST"], path: "/bootAuth/app", handle: (exchange) => bootAuth("app", options, exchange) },
    { verbs: ["POST"], path: "/bootAuth/kms", handle: (exchange) => bootAuth("kms", options, exchange) },
  ];
}

async function info({ backend, log, key }: WebhookRoutesOptions, exchange: HttpExchange): Promise<void> {
  const { requestId } = exchange;
  let answer: Answering;
  try {
    answer = answering(exchange, { method: "GET", path: "/" }, new Uint8Array(), key);
  } catch (error) {
    return unsigned(exchange, 400, { status: "error", message: errorChain(error), request_id: requestId });
  }
  try {
    const members = await backend.info();
    answer(200, { status: "ok", ...members, ...(key === undefined ? {} : { answerKey: publicKeyHex(key) }) });
  } catch (error) {
    log.error({ requestId, error: errorChain(error) }, "no information");
    answer(500, { status: "error", message: backend.failure(error), request_id: requestId });
  }
}

/** Not ready: a change of the policy, such as a permission taken back, is not in force. Boots are decided all the same. */
async function readiness({ backend }: WebhookRoutesOptions, exchange: HttpExchange): Promise<void> {
  const fault = await backend.fault?.();
  unsigned(exchange, fault === undefined ? 200 : 503, {
    ready: fault === undefined,
    ...(fault === undefined ? {} : { reason: fault, request_id: exchange.requestId }),
  });
}

async function bootAuth(
  kind: BootKind,
  { backend, log, key }: WebhookRoutesOptions,
  exchange: HttpExchange,
): Promise<void> {
  const { request, requestId } = exchange;
  const label = kind === "kms" ? "KMS" : "app";
  // What is no whole request is answered unsigned.
  let answer: Answering = (status, value) => unsigned(exchange, status, value);
  let boot: BootInfo;
  try {
    const bytes = await readBody(request, MAX_REQUEST_BYTES);
    answer = answering(exchange, { method: "POST", path: `/bootAuth/${kind}` }, bytes, key);
    boot = backend.parse(utf8Decode(bytes, "request"));
  } catch (error) {
    if (isCoded(error, "payload-too-large")) throw error;
    const reason =
      error instanceof GovernanceError
        ? error
        : new GovernanceError("request-invalid", error instanceof Error ? error.message : String(error));
    log.warn({ requestId, error: excerpt(reason.message) }, `${label} boot auth request is malformed`);
    answer(400, { ...backend.malformed(reason), request_id: requestId });
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
    answer(200, { isAllowed, reason, gatewayAppId, rule, field, ...basis });
  } catch (error) {
    log.error({ requestId, error: errorChain(error) }, "decision failed");
    answer(200, { isAllowed: false, gatewayAppId: "", reason: backend.failure(error), request_id: requestId });
  }
}

type Answering = (status: number, value: object) => void;

/** Answers this request, signed where its sender asks for that and there is a key. @throws GovernanceError `request-invalid` */
function answering(
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
  line: WebhookRequestLine,
  body: Uint8Array,
  key: KeyObject | undefined,
): Answering {
  const question: SignedQuestion | undefined = key === undefined ? undefined : questionOf(request.headers, line, body);
  return (status, value) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const isSigned = key !== undefined && question !== undefined;
    send(response, status, bytes, isSigned ? signatureHeaders(key, question, { status, body: bytes }) : {});
  };
}

const unsigned = ({ response }: HttpExchange, status: number, value: object): void =>
  send(response, status, Buffer.from(JSON.stringify(value)), {});

function send(
  response: ServerResponse,
  status: number,
  bytes: Buffer,
  headers: Readonly<Record<string, string>>,
): void {
  const own = { "content-type": "application/json", "content-length": bytes.length };
  response.writeHead(status, { ...own, ...headers }).end(bytes);
}
