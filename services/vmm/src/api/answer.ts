import type { ServerResponse } from "node:http";
import type { HttpExchange } from "@dstack/rpc";

/** A short text as the whole answer. */
export function answerText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
}

/** A value as JSON that no cache keeps. */
export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  response
    .writeHead(status, { "content-type": "application/json", "cache-control": "no-store" })
    .end(JSON.stringify(value));
}

/** Why not, in the form that RPC errors have. */
export function answerError({ response, requestId }: HttpExchange, status: number, error: string): void {
  answerJson(response, status, { error, request_id: requestId });
}
