import type { ServerResponse } from "node:http";
import type { Logger } from "@dstack/log";
import { mount, startHttpServer, type HttpExchange, type HttpServer } from "@dstack/rpc";
import type { GatewayConfig } from "../config/gateway-config.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { VERSION_LINE } from "../version.ts";
import { ADMIN_REALM, isAdmin } from "./admin-auth.ts";
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
    guard: async (exchange) => guard(exchange, admin.token),
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
    headers: { "x-app-version": VERSION_LINE },
    log: options.log,
  });
}

function guard({ request, response, url }: HttpExchange, token: string | undefined): boolean {
  const allowed =
    token === undefined ||
    UNAUTHENTICATED.includes(url.pathname) ||
    isAdmin({ method: request.method ?? "", headers: request.headers, query: url.searchParams }, token);
  url.searchParams.delete("token");
  // Methods also answer without the prefix, as they did at first.
  if (/^\/(?:Admin\.)*[A-Z][A-Za-z]*$/.test(url.pathname)) url.pathname = `/prpc${url.pathname}`;
  if (!allowed) response.writeHead(401, { "www-authenticate": ADMIN_REALM, "content-length": 0 }).end();
  return allowed;
}

function sendText(response: ServerResponse, contentType: string, text: string): void {
  response.writeHead(200, { "content-type": contentType }).end(text);
}
