import { parseJson, utf8Decode } from "@dstack/bytes";
import { z } from "zod";
import { excerpt } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import { readBody, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { SupervisorError } from "./errors.ts";
import { processConfigSchema } from "./process-config.ts";
import type { ProcessTable } from "./process-table.ts";

const MAX_BODY_BYTES = 4 * 1024 * 1024;

/**
 * The HTTP API. Status 200 whatever happened, with `{"data": ...}` or `{"error": "text"}`;
 * only a body that is no process configuration gets 422.
 */
export function supervisorRoutes(table: ProcessTable, log: Logger, onShutdown: () => void): HttpRoute[] {
  const row = (verb: string, path: string, work: (exchange: HttpExchange, id: string) => unknown): HttpRoute => ({
    verbs: [verb],
    path,
    handle: async (exchange) => {
      try {
        const id = decodeURIComponent(exchange.url.pathname.slice(path.length));
        reply(exchange, 200, { data: (await work(exchange, id)) ?? null });
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        log.info({ call: excerpt(`${verb} ${exchange.url.pathname}`), error: excerpt(text) }, "call failed");
        reply(exchange, error instanceof SupervisorError && error.code === "bad-request" ? 422 : 200, { error: text });
      }
    },
  });
  return [
    row("POST", "/deploy", async (exchange) => table.deploy(await readConfig(exchange))),
    row("POST", "/start/", (_, id) => table.start(id)),
    row("POST", "/stop/", (_, id) => table.stop(id)),
    row("DELETE", "/remove/", (_, id) => table.remove(id)),
    row("GET", "/list", () => table.list()),
    row("GET", "/info/", (_, id) => table.info(id)),
    row("GET", "/ping", () => "pong"),
    row("POST", "/clear", () => table.clear()),
    row("POST", "/shutdown", async () => {
      await table.shutdown();
      onShutdown();
    }),
  ];
}

async function readConfig(exchange: HttpExchange): Promise<z.output<typeof processConfigSchema>> {
  try {
    const body = await readBody(exchange.request, MAX_BODY_BYTES);
    return processConfigSchema.parse(parseJson(utf8Decode(body, "request"), "request"));
  } catch (cause) {
    const detail = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new SupervisorError("bad-request", `not a process configuration: ${detail}`, { cause });
  }
}

function reply(exchange: HttpExchange, status: number, value: unknown): void {
  exchange.response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}
