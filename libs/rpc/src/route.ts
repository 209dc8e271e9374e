import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { JsonObject } from "./json.ts";

/** What the transport knows about a call before its body is read as a message. */
export interface RpcCall {
  /** Method name without the service prefix. */
  readonly method: string;
  readonly requestId: string;
  /**
   * DER of the certificates that the peer showed, leaf first, where the transport is mutual TLS.
   * Only possession of the leaf's key is proven; the chain is for the rule to verify.
   */
  readonly peerCertificates: readonly Uint8Array[];
  readonly remoteAddress: string | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
}

/**
 * One row of a service's route table. `auth` names the rule that the mount's `authenticate`
 * enforces before the handler runs; there is no default.
 */
export interface Route<Caller, Auth extends string = string> {
  readonly method: string;
  readonly auth: Auth;
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly bodyLimitBytes: number;
  readonly handle: (request: never, caller: Caller, call: RpcCall) => Promise<MessageInitShape<DescMessage>>;
  readonly extendJson: ((json: JsonObject) => JsonObject) | undefined;
}

export const DEFAULT_BODY_LIMIT_BYTES = 10 * 1024 * 1024;

/** Types one row against the generated method descriptor. */
export function route<I extends DescMessage, O extends DescMessage, Caller, Auth extends string>(
  method: DescMethodUnary<I, O>,
  row: {
    readonly auth: Auth;
    readonly bodyLimitBytes?: number;
    readonly handle: (request: MessageShape<I>, caller: Caller, call: RpcCall) => Promise<MessageInitShape<O>>;
    /** Adds members to the JSON answer that protobuf has no number for. */
    readonly extendJson?: (json: JsonObject) => JsonObject;
  },
): Route<Caller, Auth> {
  return {
    method: method.name,
    auth: row.auth,
    input: method.input,
    output: method.output,
    bodyLimitBytes: row.bodyLimitBytes ?? DEFAULT_BODY_LIMIT_BYTES,
    handle: row.handle as Route<Caller, Auth>["handle"],
    extendJson: row.extendJson,
  };
}
