/**
 * Who may use the management API. In: the head of every request, before anything else sees it,
 * and the rule on the row of the method that it names. Out: nothing (it goes on), or the answer
 * that refuses it: 403 another web site, 401 no credentials, 400 a change asked for by GET.
 * Never: a decision by the spelling of a path. What a row does not say, no path can claim.
 */
import { ADMIN_LOGINS, challengeOf } from "@dstack/http";
import { RpcError, type HttpExchange, type RpcService } from "@dstack/rpc";
import type { VmmConfig } from "../config/vmm-config.ts";
import { refuseForeignSite } from "./browser-guard.ts";
import { managementAuth, SESSION_COOKIE, sessionOf } from "./management-auth.ts";

/** What a method does. `changes` must come as POST: a link or a picture on another site is a GET. */
export type ManagementRule = "reads" | "changes";

/** A service of the management API: the listener has authenticated its callers already. */
export type ManagementService = RpcService<null, ManagementRule>;

/** The rule on a method's row, kept. @throws RpcError `bad-request` where a GET would change something */
export const keepRule: ManagementService["authenticate"] = async (rule, call, verb) => {
  if (rule === "changes" && verb === "GET")
    throw new RpcError("bad-request", `${call.method} changes something and must be sent as POST`);
  return null;
};

export interface GuardOptions {
  readonly auth: VmmConfig["auth"];
  readonly listen: VmmConfig["listen"];
  /** Paths ending in `/` that programs on this host may read without credentials. */
  readonly openToThisHost: readonly string[];
}

/** Authentication and the defence against other web sites. The result is false where it has answered. */
export function managementGuard(options: GuardOptions): (exchange: HttpExchange) => Promise<boolean> {
  const { auth, listen } = options;
  const allowed = managementAuth(auth);
  return async (exchange) => {
    const { request, response, url } = exchange;
    const method = request.method ?? "GET";
    if (
      options.openToThisHost.some((path) => url.pathname.startsWith(path)) &&
      isLoopback(request.socket.remoteAddress ?? "127.0.0.1")
    )
      return true;
    const foreign = refuseForeignSite({ method, headers: request.headers }, "host" in listen && !auth.enabled);
    if (foreign !== undefined) {
      response.writeHead(403, { "content-type": "text/plain; charset=utf-8" }).end(`${foreign}\n`);
      return false;
    }
    if (!(await allowed({ method, headers: request.headers, query: url.searchParams }))) {
      response.writeHead(401, { "www-authenticate": challengeOf(ADMIN_LOGINS.vmm), "content-length": 0 }).end();
      return false;
    }
    const token = url.searchParams.get("token");
    url.searchParams.delete("token");
    if (!auth.enabled || token === null || !opensConsole(exchange)) return true;
    startSession(exchange, token);
    return false;
  };
}

/** IPv4 and IPv6 loopback, IPv4 in IPv6 too. */
export const isLoopback = (address: string): boolean => /^(?:::ffff:)?127\./.test(address) || address === "::1";

const opensConsole = ({ request, url }: HttpExchange): boolean =>
  request.method === "GET" && url.pathname === "/" && (request.headers.accept ?? "").includes("text/html");

/** A browser opened with a token keeps a session instead, and the token leaves its address bar. */
function startSession({ response }: HttpExchange, token: string): void {
  response
    .writeHead(303, {
      location: "/",
      "set-cookie": `${SESSION_COOKIE}=${sessionOf(token)}; Path=/; HttpOnly; SameSite=Strict`,
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    })
    .end();
}
