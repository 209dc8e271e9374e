import { escapeHtml } from "@dstack/http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { utf8Decode } from "@dstack/bytes";
import { errorChain, isCoded } from "@dstack/errors";
import { DEFAULT_BODY_LIMIT_BYTES, readBody, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import type { VmmConfig } from "../config/vmm-config.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { answerError, answerJson, answerText } from "./answer.ts";
import { bootAdvice } from "./boot-advice.ts";
import { OS_IMAGES_PATH, sendBundle } from "./bundle-routes.ts";
import { sendLog } from "./log-routes.ts";
import { sendPreviousVersion, sendRollback } from "./version-routes.ts";

export interface HttpRoutesOptions {
  readonly fleet: Fleet;
  readonly config: VmmConfig;
  /** The JSON of `Status` without a filter. */
  readonly statusJson: () => Promise<Uint8Array>;
  readonly consoleFolder: string;
  readonly metricsText: () => Promise<string>;
}

/** One row of what the listener serves beside RPC. Verbs other than its own are not found. */
export interface ManagementRoute extends HttpRoute {
  /** `this-host`: programs on this host need no credentials. */
  readonly openTo: "management" | "this-host";
}

/** What the listener serves beside RPC. */
export function httpRoutes(options: HttpRoutesOptions): ManagementRoute[] {
  const row = (verb: string, path: string, handle: HttpRoute["handle"]): ManagementRoute => ({
    verbs: [verb],
    path,
    handle,
    openTo: "management",
  });
  const page = (exchange: HttpExchange): Promise<void> => sendPage(exchange, options);
  return [
    row("GET", "/", page),
    row("GET", "/v1", page),
    row("GET", "/beta", page),
    row("GET", "/console/", (exchange) => sendAsset(exchange, options.consoleFolder)),
    row("GET", "/vm", async ({ response }) => {
      response.writeHead(200, { "content-type": "application/json" }).end(await options.statusJson());
    }),
    row("GET", "/metrics", async ({ response }) => {
      response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
      response.end(await options.metricsText());
    }),
    row("POST", "/boot-advice", (exchange) => sendAdvice(exchange, options)),
    row("GET", "/previous-version", (exchange) => sendPreviousVersion(exchange, options.fleet)),
    row("POST", "/rollback", (exchange) => sendRollback(exchange, options.fleet)),
    row("GET", "/logs", (exchange) => sendLog(exchange, options.fleet)),
    {
      verbs: ["GET", "HEAD"],
      path: OS_IMAGES_PATH,
      handle: (exchange) => sendBundle(exchange, options.config.imagePath),
      openTo: "this-host",
    },
  ];
}

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES: Readonly<Record<string, string>> = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

async function sendPage({ response }: HttpExchange, { consoleFolder, config }: HttpRoutesOptions): Promise<void> {
  const title = config.nodeName === "" ? "dstack-vmm" : `${config.nodeName} | dstack-vmm`;
  const html = (await readFile(join(consoleFolder, "index.html"), "utf8")).replaceAll("{{TITLE}}", escapeHtml(title));
  response
    .writeHead(200, {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": POLICY,
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache",
    })
    .end(html);
}

async function sendAsset({ response, url }: HttpExchange, folder: string): Promise<void> {
  const name = /^\/console\/([a-z0-9-]+(\.js|\.css|\.svg))$/.exec(url.pathname);
  const body = name === null ? undefined : await readFile(join(folder, name[1] ?? "")).catch(() => undefined);
  if (body === undefined) {
    answerText(response, 404, "Not found\n");
    return;
  }
  response
    .writeHead(200, {
      "content-type": TYPES[name?.[2] ?? ""] ?? "application/octet-stream",
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache",
    })
    .end(body);
}

async function sendAdvice(exchange: HttpExchange, options: HttpRoutesOptions): Promise<void> {
  try {
    const body = utf8Decode(await readBody(exchange.request, DEFAULT_BODY_LIMIT_BYTES), "request");
    answerJson(exchange.response, 200, await bootAdvice(body, options));
  } catch (error) {
    if (isCoded(error, "payload-too-large")) throw error;
    answerError(exchange, 400, errorChain(error));
  }
}
