import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import { isIP } from "node:net";
import { excerpt } from "@dstack/errors";
import { mount, startHttpServer, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { KmsError } from "../errors.ts";
import { ADMIN_LOGINS, adminCredentials, challengeOf } from "@dstack/http";
import { requireKeys } from "../keys/key-files.ts";
import { pageRoutes } from "./setup-page.ts";
import type { SetUpOptions } from "./set-up-options.ts";

/** Requests of this listener are a domain and a URL. */
const BODY_LIMIT_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 512;
const REQUEST_TIMEOUT_MS = 30_000;

/**
 * Serves page and service of the set-up over plain HTTP until they are finished, or until the signal.
 * As in released versions they are open to whoever reaches them, unless a token is asked for (#610, #611).
 */
export async function serveSetUp(
  options: Pick<SetUpOptions, "config" | "log" | "service" | "routes" | "print" | "signal">,
): Promise<void> {
  const { log, signal, print } = options;
  const { listen, requireToken, siteName } = options.config.setUp;
  const { keyFolder, ownNames } = options.config;
  const finished = new AbortController();
  const finish = async (): Promise<void> => {
    await requireKeys(keyFolder);
    // After the answer: the caller is still waiting for it.
    setImmediate(() => finished.abort());
  };
  const token = requireToken ? randomBytes(16).toString("hex") : undefined;
  const service = options.service(finish);
  const server = await startHttpServer({
    listen,
    log,
    maxConnections: MAX_CONNECTIONS,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    headers: { "cache-control": "no-store" },
    guard: guardOf(token, new Set([listen.host, ...ownNames].map((name) => name.toLowerCase()))),
    mounts: [
      mount("/prpc/", {
        ...service,
        routes: service.routes.map((row) => ({ ...row, bodyLimitBytes: BODY_LIMIT_BYTES })),
      }),
    ],
    routes: [
      ...(options.routes ?? []),
      ...pageRoutes({ siteName, tokenRequired: token !== undefined, keyFolder }),
      finishRoute(finish),
      { verbs: ["GET"], path: "/health", handle: ({ response }) => Promise.resolve(send(response, 200, "OK")) },
    ],
  });
  try {
    log.warn(
      { address: server.address, tokenRequired: token !== undefined },
      "no keys yet: waiting for an operator to bootstrap or onboard on the set-up page",
    );
    if (token !== undefined)
      print(
        `dstack-kms set-up: open http://${server.address}/#token=${token} or send "Authorization: Bearer ${token}"`,
      );
    const end = AbortSignal.any([finished.signal, signal]);
    if (!end.aborted) await once(end, "abort");
  } finally {
    await server.close();
  }
  if (signal.aborted) throw new KmsError("stopped", "stopped during the set-up", { cause: signal.reason });
}

const finishRoute = (finish: () => Promise<void>): HttpRoute => ({
  verbs: ["GET", "POST"],
  path: "/finish",
  handle: async ({ response }) => {
    try {
      await finish();
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      return send(response, 400, error.message);
    }
    response.setHeader("connection", "close");
    send(response, 200, "OK");
  },
});

/** What anybody may load: the page itself says nothing and does nothing without the rest. */
const isOpen = (path: string): boolean => path === "/" || path === "/health" || path.startsWith("/page/");

/** Refuses who has no token, and pages of other sites in an operator's browser, also those whose name was made to lead here. */
function guardOf(
  token: string | undefined,
  ownNames: ReadonlySet<string>,
): (exchange: HttpExchange) => Promise<boolean> {
  const hasToken = adminCredentials({ rules: ADMIN_LOGINS.setUp, tokens: token === undefined ? [] : [token] });
  return async ({ request, response, url }) => {
    if (isOpen(url.pathname)) return true;
    if (!isSameSite(request, url)) {
      send(
        response,
        403,
        "refused: this request may come from a page of another site. In a browser use the set-up page",
      );
      return false;
    }
    const { method = "", headers } = request;
    if (token === undefined && !isOwnName(headers.host, ownNames)) {
      send(
        response,
        403,
        `refused: this set-up is open to whoever reaches it, so it answers to addresses and to its own names alone, and "${excerpt(headers.host ?? "", { maxChars: 64 })}" is none. Use the address, list the name in core.own_names, or set core.onboard.require_token = true`,
      );
      return false;
    }
    if (token === undefined || (await hasToken({ method, headers, query: url.searchParams }))) return true;
    response.setHeader("www-authenticate", challengeOf(ADMIN_LOGINS.setUp));
    send(
      response,
      401,
      'the set-up token is missing or wrong: send "Authorization: Bearer <token>" with the token that this KMS printed at start',
    );
    return false;
  };
}

/**
 * Programs send none of these headers, and pages cannot forge them. Without TLS a browser's GET
 * need not say where it comes from, so a browser calls methods by POST, which always does.
 */
function isSameSite({ headers, method }: IncomingMessage, { pathname }: URL): boolean {
  if (!["same-origin", "none", undefined].includes(headers["sec-fetch-site"] as string | undefined)) return false;
  if (method !== "POST" && pathname.startsWith("/prpc/") && headers["user-agent"]?.startsWith("Mozilla/") === true)
    return false;
  const { origin } = headers;
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === headers.host);
}

/**
 * A page's own name can be made to lead to this listener after it was loaded, and its requests are then of the same
 * site. Addresses cannot, names without a dot are no public ones, and programs that name no host are no browsers.
 */
function isOwnName(host: string | undefined, ownNames: ReadonlySet<string>): boolean {
  if (host === undefined || host === "") return true;
  const name = URL.parse(`http://${host}/`)?.hostname.replace(/\.$/, "") ?? "";
  return isIP(name.replace(/^\[|\]$/g, "")) !== 0 || ownNames.has(name) || (name !== "" && !name.includes("."));
}

function send(response: ServerResponse, status: number, text: string): void {
  response
    .writeHead(status, { "content-type": "text/plain; charset=utf-8", "content-length": Buffer.byteLength(text) })
    .end(text);
}
