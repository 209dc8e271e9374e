/**
 * What callers without evidence that holds can make this KMS do.
 * In: a request, before its body is read. Out: whether it goes on, or its refusal.
 * Counted by address (IPv6: the /64), and there by the app that is asked about.
 * Evidence is its own limit: a call that was answered for it is given back; one that was refused counts.
 * Never: a table that a flood of addresses could make grow.
 */
import { toHex } from "@dstack/bytes";
import { errorResponse, isJsonCall, networkOf, RpcError, type HttpExchange, type RpcService } from "@dstack/rpc";
import type { Caller, CallerRule } from "../release/caller.ts";
import { RateLimiter } from "./rate-limiter.ts";

export interface AnonymousLimitsOptions {
  readonly perAddress: number;
  readonly perApp: number;
  readonly clock: { now(): number };
  /** Told of each call that was refused. */
  readonly onRefusal: (by: "address" | "app") => void;
}

const MAX_KEYS = 10_000;
const MOUNT = "/prpc/";

/**
 * Bounds what callers without evidence that holds can make this KMS do: sign, and ask the auth server, whose
 * quota at a chain is everybody's (#564, DS #1311).
 */
export class AnonymousLimits {
  readonly #addresses: RateLimiter;
  readonly #apps: RateLimiter;
  readonly #onRefusal: AnonymousLimitsOptions["onRefusal"];

  constructor({ perAddress, perApp, clock, onRefusal }: AnonymousLimitsOptions) {
    this.#addresses = new RateLimiter({ perMinute: perAddress, maxKeys: MAX_KEYS, clock });
    this.#apps = new RateLimiter({ perMinute: perApp, maxKeys: MAX_KEYS, clock });
    this.#onRefusal = onRefusal;
  }

  /** Whether the call may go on; else it is answered here, before its body is read. */
  admit({ request, response, url, requestId }: HttpExchange): boolean {
    if (!url.pathname.startsWith(MOUNT)) return true;
    const name = url.pathname.slice(MOUNT.length);
    const refused = this.#takeOfAddress(request.socket.remoteAddress);
    if (refused === undefined) return true;
    const json = isJsonCall({
      name,
      verb: request.method === "GET" ? "GET" : "POST",
      query: url.searchParams,
      contentType: request.headers["content-type"],
      body: new Uint8Array(),
    });
    const answer = errorResponse(400, refused.message, json, requestId);
    // The rest of the request is not read: the connection cannot be used again.
    response
      .writeHead(answer.status, {
        "content-type": answer.contentType,
        "content-length": answer.body.length,
        "retry-after": String(refused.wait),
        connection: "close",
      })
      .end(answer.body);
    return false;
  }

  /**
   * The service with a limit on what is asked about one app, and whose calls that evidence answered
   * for are given back. By app and address: else a stranger's questions would lock an app's owner out.
   */
  limit(service: RpcService<Caller, CallerRule>): RpcService<Caller, CallerRule> {
    const routes = service.routes.map((row): typeof row => {
      if (row.method === "GetAppEnvEncryptPubKey") {
        return {
          ...row,
          handle: (request: { readonly appId: Uint8Array }, caller, call) => {
            this.#takeOfApp(request.appId, call.remoteAddress);
            return row.handle(request as never, caller, call);
          },
        };
      }
      if (row.auth !== "attested" && row.method !== "SignCert") return row;
      return {
        ...row,
        handle: async (request, caller, call) => {
          const answer = await row.handle(request, caller, call);
          this.#addresses.giveBack(networkOf(call.remoteAddress ?? ""));
          return answer;
        },
      };
    });
    return { ...service, routes };
  }

  #takeOfApp(app: Uint8Array, address: string | undefined): void {
    const wait = this.#apps.take(`${toHex(app.subarray(0, 20))} ${networkOf(address ?? "")}`);
    if (wait === undefined) return;
    this.#onRefusal("app");
    throw new RpcError("bad-request", `too many calls for this app: try again in ${wait} s (core.rate_limit.per_app)`);
  }

  /** Counts one call. @returns what to tell the caller who may not make it */
  #takeOfAddress(address: string | undefined): { readonly message: string; readonly wait: number } | undefined {
    const wait = this.#addresses.take(networkOf(address ?? ""));
    if (wait === undefined) return undefined;
    this.#onRefusal("address");
    return {
      wait,
      message: `too many calls from ${address ?? "this address"}: try again in ${wait} s (core.rate_limit.per_address)`,
    };
  }
}
