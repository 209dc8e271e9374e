import type { Logger } from "@dstack/log";
import { ADMIN_LOGINS, challengeOf, type LoginRequest } from "@dstack/http";
import { kms } from "@dstack/proto";
import {
  mount,
  route,
  startHttpServer,
  type DescribedRoute,
  type HttpRoute,
  type HttpServer,
  type RpcService,
} from "@dstack/rpc";
import { clearImageCache, type ImageCaches } from "../image/clear-image-cache.ts";
import { apiDescriptionRoute } from "./api-description.ts";

export interface AdminOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** Undefined only with `core.admin.insecure_no_auth`. */
  readonly auth: ((request: LoginRequest) => Promise<boolean>) | undefined;
  readonly caches: ImageCaches;
  readonly version: string;
  /** Beside the RPC service, behind the same credentials. */
  readonly routes?: readonly (HttpRoute & { readonly described: DescribedRoute })[];
  readonly log: Logger;
}

/** The administration listener: plain HTTP, credentials on everything, its own address. */
export function startAdminServer({
  listen,
  auth,
  caches,
  version,
  routes = [],
  log,
}: AdminOptions): Promise<HttpServer> {
  const service = adminService({ caches, log });
  const described = routes.map((row) => row.described);
  return startHttpServer({
    listen,
    log,
    guard: async ({ request, response, url }) => {
      const { method = "", headers } = request;
      const { remoteAddress } = request.socket;
      if (auth === undefined || (await auth({ method, headers, query: url.searchParams, remoteAddress }))) return true;
      response.writeHead(401, { "www-authenticate": challengeOf(ADMIN_LOGINS.kms), "content-length": 0 }).end();
      return false;
    },
    mounts: [mount("/prpc/", service)],
    routes: [
      apiDescriptionRoute({ title: "dstack KMS administration", version, service, routes: described }),
      ...routes,
    ],
  });
}

/** The Admin service; whoever gets as far as its rows has shown credentials to the listener. */
export function adminService({ caches, log }: Pick<AdminOptions, "caches" | "log">): RpcService<undefined, "admin"> {
  return {
    prefixes: ["Admin."],
    authenticate: () => Promise.resolve(undefined),
    routes: [
      route(kms.Admin.method.clearImageCache, {
        auth: "admin",
        handle: async (request) => {
          await clearImageCache(caches, request.imageHash, request.configHash);
          return {};
        },
      }),
    ],
    log,
  };
}
