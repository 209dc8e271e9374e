import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { utf8Decode } from "@dstack/bytes";
import { listImages } from "@dstack/image";
import { errorChain } from "@dstack/errors";
import { DEFAULT_BODY_LIMIT_BYTES, readBody, RpcError, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { bootAdvice } from "./boot-advice.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { ansiStripper, readLog } from "../logs/log-reader.ts";
import { checkVmId } from "../vm/manifest.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export interface HttpRoutesOptions {
  readonly fleet: Fleet;
  readonly config: VmmConfig;
  /** The JSON of `Status` without a filter. */
  readonly statusJson: () => Promise<Uint8Array>;
  readonly consoleFolder: string;
}

export const OS_IMAGES_PATH = "/os-images/";

/** What the listener serves beside RPC. */
export function httpRoutes(options: HttpRoutesOptions): HttpRoute[] {
  const page = (exchange: HttpExchange): Promise<void> => sendPage(exchange, options);
  return [
    { verbs: ["GET"], path: "/", handle: page },
    { verbs: ["GET"], path: "/v1", handle: page },
    { verbs: ["GET"], path: "/beta", handle: page },
    { verbs: ["GET"], path: "/console/", handle: (exchange) => sendAsset(exchange, options.consoleFolder) },
    {
      verbs: ["GET"],
      path: "/vm",
      handle: async ({ response }) =>
        void response.writeHead(200, { "content-type": "application/json" }).end(await options.statusJson()),
    },
    { verbs: ["POST"], path: "/boot-advice", handle: (exchange) => sendAdvice(exchange, options) },
    { verbs: ["GET"], path: "/logs", handle: (exchange) => sendLog(exchange, options.fleet) },
    {
      verbs: ["GET", "HEAD"],
      path: OS_IMAGES_PATH,
      handle: (exchange) => sendBundle(exchange, options.config.imagePath),
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
  const title = config.node_name === "" ? "dstack-vmm" : `${config.node_name} | dstack-vmm`;
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
    notFound(response, "Not found\n");
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

async function sendAdvice({ request, response }: HttpExchange, options: HttpRoutesOptions): Promise<void> {
  const answer = (status: number, value: object): void =>
    void response
      .writeHead(status, { "content-type": "application/json", "cache-control": "no-store" })
      .end(JSON.stringify(value));
  try {
    answer(200, await bootAdvice(utf8Decode(await readBody(request, DEFAULT_BODY_LIMIT_BYTES), "request"), options));
  } catch (error) {
    // What is left of a request that was too long is not waited for.
    if (error instanceof RpcError) response.setHeader("connection", "close");
    answer(400, { error: errorChain(error) });
  }
}

const DEFAULT_LINES = 10_000;

async function sendLog({ request, response, url }: HttpExchange, fleet: Fleet): Promise<void> {
  const query = url.searchParams;
  const id = query.get("id");
  const vm = id === null || !isId(id) ? undefined : fleet.find(id);
  const follow = flag(query.get("follow"));
  const ansi = flag(query.get("ansi"));
  const lines = query.get("lines") === null ? DEFAULT_LINES : Number(query.get("lines"));
  const channel = query.get("ch") ?? "serial";
  if (id === null || follow === undefined || ansi === undefined || !Number.isSafeInteger(lines) || lines < 0) {
    response
      .writeHead(400, { "content-type": "text/plain; charset=utf-8" })
      .end("expected id, and follow, ansi, lines and ch with values that can be read\n");
    return;
  }
  if (vm === undefined) {
    notFound(response, "VM not found");
    return;
  }
  const path = new Map([
    ["serial", vm.folder.file.serialLog],
    ["stdout", vm.folder.file.stdoutLog],
    ["stderr", vm.folder.file.stderrLog],
  ]).get(channel);
  if (path === undefined) {
    response
      .writeHead(400, { "content-type": "text/plain; charset=utf-8" })
      .end(`Unknown channel ${channel.slice(0, 40)}`);
    return;
  }
  response.writeHead(200, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
    "cache-control": "no-store",
  });
  response.flushHeaders();
  if (!follow && (await stat(path).catch(() => undefined)) === undefined) {
    response.end(`the ${channel} log of this VM does not exist yet\n`);
    return;
  }
  const gone = new AbortController();
  request.once("close", () => gone.abort());
  response.once("close", () => gone.abort());
  const plain = ansi ? { next: (text: string) => text, end: () => "" } : ansiStripper();
  for await (const text of readLog(path, { lines, follow, signal: gone.signal })) {
    if (gone.signal.aborted) break;
    if (!response.write(plain.next(text))) await drained(response, gone.signal);
  }
  response.end(plain.end());
}

async function sendBundle({ request, response, url }: HttpExchange, imagePath: string): Promise<void> {
  const name = /^\/os-images\/(mr_[0-9a-f]{64}\.tar\.gz)$/.exec(url.pathname)?.[1];
  const path = name === undefined ? undefined : await findBundle(imagePath, name);
  if (path === undefined) {
    notFound(response, "no such image bundle\n");
    return;
  }
  const { size } = await stat(path);
  response.writeHead(200, { "content-type": "application/gzip", "content-length": size });
  if (request.method === "HEAD") response.end();
  else await pipeline(createReadStream(path), response).catch(() => response.destroy());
}

/** Beside the images, or inside one. */
async function findBundle(imagePath: string, name: string): Promise<string | undefined> {
  const folders = [imagePath, ...(await listImages(imagePath)).map((image) => image.dir)];
  for (const folder of folders) {
    const path = join(folder, name);
    if ((await stat(path).catch(() => undefined))?.isFile() === true) return path;
  }
  return undefined;
}

function drained(response: HttpExchange["response"], signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    response.once("drain", done);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}

function isId(id: string): boolean {
  try {
    return checkVmId(id) === id;
  } catch {
    return false;
  }
}

/** Absent is false, empty is true; undefined for a value that is neither. */
function flag(value: string | null): boolean | undefined {
  if (value === null) return false;
  if (["true", "on", "yes", "1", ""].includes(value)) return true;
  return ["false", "off", "no", "0"].includes(value) ? false : undefined;
}

const notFound = (response: HttpExchange["response"], text: string): void =>
  void response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end(text);

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
