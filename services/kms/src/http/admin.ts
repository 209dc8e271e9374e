import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Logger } from "@dstack/log";
import { kms } from "@dstack/proto";
import { mount, route, startHttpServer, type HttpServer } from "@dstack/rpc";
import { clearImageCache, type ImageCaches } from "../image/clear-image-cache.ts";

export interface AdminOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** Undefined only with `core.admin.insecure_no_auth`. */
  readonly token: string | undefined;
  readonly caches: ImageCaches;
  readonly log: Logger;
}

/** The administration listener: plain HTTP, one shared token, its own address. */
export function startAdminServer({ listen, token, caches, log }: AdminOptions): Promise<HttpServer> {
  return startHttpServer({
    listen,
    log,
    guard: ({ request, response }) => {
      if (token === undefined || isAuthorized(request, token)) return Promise.resolve(true);
      response.writeHead(401, { "www-authenticate": 'Basic realm="dstack-kms admin"', "content-length": 0 }).end();
      return Promise.resolve(false);
    },
    mounts: [
      mount("/prpc/", {
        prefixes: ["Admin."],
        authenticate: () => Promise.resolve(undefined),
        routes: [
          route(kms.Admin.method.clearImageCache, {
            auth: "token",
            handle: async (request) => {
              await clearImageCache(caches, request.imageHash, request.configHash);
              return {};
            },
          }),
        ],
        log,
      }),
    ],
  });
}

/** The token as X-Admin-Token, as bearer, or as either half of Basic. A wrong bearer is final. */
function isAuthorized(request: IncomingMessage, token: string): boolean {
  const { authorization } = request.headers;
  const bearer = /^Bearer\s+(.*)$/i.exec(authorization ?? "")?.[1];
  if (bearer !== undefined) return isSame(bearer, token);
  const header = request.headers["x-admin-token"];
  if (typeof header === "string" && isSame(header, token)) return true;
  const basic = /^Basic\s+([A-Za-z0-9+/=]+)$/i.exec(authorization ?? "")?.[1];
  if (basic === undefined) return false;
  const [user = "", ...rest] = Buffer.from(basic, "base64").toString("utf8").split(":");
  const password = rest.join(":");
  return isSame(password, token) || (password === "" && isSame(user, token));
}

const isSame = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
