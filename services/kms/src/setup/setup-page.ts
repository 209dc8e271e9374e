import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readTextIfExists } from "@dstack/files";
import type { HttpExchange, HttpRoute } from "@dstack/rpc";
import { escapeHtml } from "@dstack/http";
import { INFO_FILE, keyFolderState } from "../keys/key-files.ts";

export interface SetupPageOptions {
  /** May be empty. */
  readonly siteName: string;
  readonly tokenRequired: boolean;
  readonly keyFolder: string;
}

const FOLDER = join(import.meta.dirname, "page");
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SAFE_HEADERS = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache",
};
const ASSETS: Readonly<Record<string, string>> = {
  "/page/main.js": "text/javascript; charset=utf-8",
  "/page/style.css": "text/css; charset=utf-8",
  "/page/icon.svg": "image/svg+xml",
};

/** The page, all of it from this server, and `/state`: what the page shows when it is opened again. */
export function pageRoutes({ siteName, tokenRequired, keyFolder }: SetupPageOptions): HttpRoute[] {
  const title = siteName === "" ? "dstack KMS" : siteName;
  return [
    {
      verbs: ["GET"],
      path: "/",
      handle: async ({ response }) => {
        const html = (await readFile(join(FOLDER, "index.html"), "utf8"))
          .replaceAll("{{TITLE}}", escapeHtml(title))
          .replaceAll("{{TOKEN}}", tokenRequired ? "required" : "none");
        response
          .writeHead(200, {
            ...SAFE_HEADERS,
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": POLICY,
          })
          .end(html);
      },
    },
    ...Object.entries(ASSETS).map(([path, type]) => ({
      verbs: ["GET"],
      path,
      handle: (exchange: HttpExchange) => sendAsset(exchange, path, type),
    })),
    {
      verbs: ["GET"],
      path: "/state",
      handle: async ({ response }) => {
        const hasKeys = (await keyFolderState(keyFolder)).kind === "complete";
        const info = hasKeys ? await readTextIfExists(join(keyFolder, INFO_FILE)) : undefined;
        response
          .writeHead(200, { ...SAFE_HEADERS, "content-type": "application/json" })
          .end(`{"keys":${hasKeys},"bootstrap_info":${info ?? "null"}}`);
      },
    },
  ];
}

async function sendAsset({ response }: HttpExchange, path: string, type: string): Promise<void> {
  response
    .writeHead(200, { ...SAFE_HEADERS, "content-type": type })
    .end(await readFile(join(FOLDER, path.slice("/page/".length))));
}
