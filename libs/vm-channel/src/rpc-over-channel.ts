import { utf8, utf8Decode } from "@dstack/bytes";
import { dispatch, RpcError, stripPrefixes, type RpcService, type RpcTransport } from "@dstack/rpc";
import { ChannelError } from "./errors.ts";
import type { ChannelHandler, VmChannel } from "./vm-channel.ts";

/**
 * Carries pRPC calls over a channel, for `callRpc`.
 * @param base path of the peer's service, e.g. `/api`
 */
export function channelTransport(channel: VmChannel, base: string): RpcTransport {
  return {
    call: async (method, json, options) => {
      try {
        const answer = await channel.request(`${base}/${method}`, JSON.parse(json), {
          ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        });
        return { status: answer.status, body: utf8(JSON.stringify(answer.json)) };
      } catch (cause) {
        if (cause instanceof ChannelError) throw new RpcError("transport-failed", cause.message, { cause });
        throw cause;
      }
    },
  };
}

/**
 * Answers a channel's requests below `base` by an RPC service. The channel itself says who
 * calls, so the service's `authenticate` gets no certificate, header or address.
 */
export function channelHandler<Caller, Auth extends string>(
  service: RpcService<Caller, Auth>,
  base: string,
): ChannelHandler {
  return async (path, json, signal) => {
    const name = path.startsWith(`${base}/`) ? path.slice(base.length + 1) : undefined;
    if (name === undefined || name.includes("/")) return { status: 404, json: { error: `no such path: ${path}` } };
    const query = new URLSearchParams();
    const answer = await dispatch(
      service,
      { name, verb: "POST", query, contentType: "application/json", body: utf8(JSON.stringify(json)) },
      {
        method: stripPrefixes(name, service.prefixes),
        requestId: "channel",
        peerCertificates: [],
        remoteAddress: undefined,
        headers: {},
        query,
        signal,
      },
    );
    return { status: answer.status, json: JSON.parse(utf8Decode(answer.body, "answer")) as unknown };
  };
}
