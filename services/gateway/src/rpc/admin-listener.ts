import type { ServerResponse } from "node:http";
import type { Logger } from "@dstack/log";
import { ADMIN_LOGINS, adminCredentials, challengeOf } from "@dstack/http";
import { mount, startHttpServer, type HttpExchange, type HttpServer } from "@dstack/rpc";
import { VERSION_TEXT } from "@dstack/proto/wire";
import type { GatewayConfig } from "../config/gateway-config.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { adminService, type AdminServiceOptions } from "./admin-service.ts";

export interface AdminListenerOptions extends AdminServiceOptions {
  readonly admin: NonNullable<GatewayConfig["admin"]>;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
}

const UNAUTHENTICATED: readonly string[] = ["/health"];

/** The operator's listener: plain HTTP, the token on everything but `/health`. */
export function startAdminListener(options: AdminListenerOptions): Promise<HttpServer> {
  const { admin, metrics } = options;
  return startHttpServer({
    listen: admin.listen,
    guard: guardOf(admin.token),
    mounts: [mount("/prpc/", adminService(options))],
    routes: [
      {
        verbs: ["GET"],
        path: "/health",
        handle: async ({ response }) => sendText(response, "text/plain; charset=utf-8", "OK"),
      },
      {
        verbs: ["GET"],
        path: "/metrics",
        handle: async ({ response }) => sendText(response, metrics.contentType, await metrics.text()),
      },
    ],
    headers: { "x-app-version": VERSION_TEXT },
    log: options.log,
  });
}

/** Without a token everybody may: the configuration says so by name. */
function guardOf(token: string | undefined): (exchange: HttpExchange) => Promise<boolean> {
  const isAdmin = adminCredentials({ rules: ADMIN_LOGINS.gateway, tokens: token === undefined ? [] : [token] });
  return async ({ request, response, url }) => {
    const { method = "", headers } = request;
    const allowed =
      token === undefined ||
      UNAUTHENTICATED.includes(url.pathname) ||
      (await isAdmin({ method, headers, query: url.searchParams }));
    url.searchParams.delete("token");
    // Methods also answer without the prefix, as they did at first.
    if (/^\/(?:Admin\.)*[A-Z][A-Za-z]*$/.test(url.pathname)) url.pathname = `/prpc${url.pathname}`;
    if (!allowed)
      response.writeHead(401, { "www-authenticate": challengeOf(ADMIN_LOGINS.gateway), "content-length": 0 }).end();
    return allowed;
  };
}

function sendText(response: ServerResponse, contentType: string, text: string): void {
  response.writeHead(200, { "content-type": contentType }).end(text);
}
