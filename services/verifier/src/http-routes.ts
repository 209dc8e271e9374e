import type { ServerResponse } from "node:http";
import { parseJson, utf8Decode } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import { readBody, RpcError, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { VerifierError } from "./errors.ts";
import { gate } from "./gate.ts";
import type { Metrics } from "./metrics.ts";
import type { VerificationResponse } from "./verification-response.ts";
import type { Verifier } from "./verifier.ts";

/** Some thirty times the evidence of an ordinary app; a log of 10,000 events fits. At most 128 may be under way: this bounds memory. */
export const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** One verification is mostly one thread's work, and images take memory while they are measured. */
const LIMITS = { running: 4, waiting: 64 };

/** Nobody is asked who they are: a verdict is worth nothing to whoever does not trust this verifier. */
export function httpRoutes(verifier: Verifier, metrics: Metrics, log: Logger): readonly HttpRoute[] {
  const gated = gate(LIMITS);
  return [
    {
      verbs: ["GET"],
      path: "/health",
      handle: ({ response }) => Promise.resolve(send(response, 200, { status: "ok", service: "dstack-verifier" })),
    },
    {
      verbs: ["GET"],
      path: "/metrics",
      handle: async ({ response }) => {
        response.setHeader("content-type", "text/plain; version=0.0.4; charset=utf-8");
        response.end(await metrics.text());
      },
    },
    {
      verbs: ["POST"],
      path: "/verify",
      handle: async (exchange) => {
        const request = await readRequest(exchange);
        if (request === undefined) return;
        const signal = gone(exchange);
        try {
          const result = await gated(() => verifier.verifyRequest(request, signal), signal);
          logResult(log, exchange.requestId, result);
          send(exchange.response, 200, result);
        } catch (error) {
          if (signal.aborted) return;
          if (!(error instanceof VerifierError && error.code === "overloaded")) throw error;
          exchange.response.setHeader("retry-after", "5");
          send(exchange.response, 503, { error: error.message, request_id: exchange.requestId });
        }
      },
    },
  ];
}

/** 413 for a body that is too large, 400 for one that is not JSON, 422 for JSON that is no request; then undefined. */
async function readRequest({
  request,
  response,
  requestId,
}: HttpExchange): Promise<Readonly<Record<string, unknown>> | undefined> {
  const refuse = (status: number, error: string): undefined => {
    response.setHeader("connection", "close");
    send(response, status, { error, request_id: requestId });
    return undefined;
  };
  let value: unknown;
  try {
    value = parseJson(utf8Decode(await readBody(request, MAX_REQUEST_BYTES), "request"), "request");
  } catch (error) {
    if (error instanceof RpcError) return refuse(413, `request: more than ${MAX_REQUEST_BYTES} bytes`);
    // Nobody is left to answer.
    if (request.errored !== null) return undefined;
    return refuse(400, "request: expected JSON text");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return refuse(422, "request: expected a JSON object with quote, event_log and vm_config, or attestation");
  const fields = value as Record<string, unknown>;
  for (const [name, type] of [
    ["quote", "string"],
    ["event_log", "string"],
    ["vm_config", "string"],
    ["attestation", "string"],
    ["debug", "boolean"],
  ] as const) {
    const field = fields[name];
    // Null is absent for a text, and no truth value.
    if (field !== undefined && !(field === null && type === "string") && typeof field !== type)
      return refuse(422, `request: ${name} is not a ${type}`);
  }
  return fields;
}

/** Aborted when the client goes away before its answer. */
function gone({ response }: HttpExchange): AbortSignal {
  const aborted = new AbortController();
  const abort = (): void => {
    if (!response.writableFinished) aborted.abort(new Error("the client went away"));
  };
  if (response.closed) abort();
  else response.once("close", abort);
  return aborted.signal;
}

function logResult(log: Logger, requestId: string, { is_valid, reason, details }: VerificationResponse): void {
  log.info(
    {
      requestId,
      valid: is_valid,
      reason: reason === null ? null : excerpt(reason),
      appId: details.app_info?.app_id,
      tcbStatus: details.tcb_status,
    },
    "verified a request",
  );
}

function send(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response
    .writeHead(status, {
      "content-type": "application/json",
      "content-length": body.length,
      "cache-control": "no-store",
    })
    .end(body);
}
