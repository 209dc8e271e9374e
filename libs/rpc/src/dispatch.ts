import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { prpc } from "@dstack/proto";
import { utf8, utf8Decode } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { errorChain, excerpt } from "@dstack/errors";
import { RpcError } from "./errors.ts";
import {
  checkJsonShape,
  messageFromJson,
  messageFromQuery,
  messageToJson,
  parseJson,
  type JsonOptions,
} from "./json.ts";
import type { Route, RpcCall } from "./route.ts";

export interface RpcRequest {
  /** Last path segment, service prefix included. */
  readonly name: string;
  readonly verb: "GET" | "POST";
  readonly query: URLSearchParams;
  readonly contentType: string | undefined;
  readonly body: Uint8Array;
}

export interface RpcResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** Extra response headers, such as WWW-Authenticate. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RpcService<Caller, Auth extends string> {
  /** Prefixes that are stripped from the method name as often as they occur, e.g. `KMS.`. */
  readonly prefixes: readonly string[];
  readonly routes: readonly Route<Caller, Auth>[];
  /** Who calls; throws RpcError `unauthenticated` where the rule is not met. Runs before the body is parsed. */
  readonly authenticate: (auth: Auth, call: RpcCall, verb: RpcRequest["verb"]) => Promise<Caller>;
  readonly json?: JsonOptions;
  /** JSON errors hold `error` alone, for contracts that released clients have frozen; else `request_id` too. */
  readonly bareErrors?: true;
  readonly log: Logger;
}

const JSON_TYPE = "application/json";
const BINARY_TYPE = "application/octet-stream";
/** Of an error with its causes; what it repeats of a caller's text is an excerpt already. */
const LOGGED = { maxChars: 1_024, lines: true } as const;
const ANSWERED = { maxChars: 4_000, lines: true } as const;

/** The method name with every leading service prefix removed. */
export function stripPrefixes(name: string, prefixes: readonly string[]): string {
  let rest = name;
  for (;;) {
    const prefix = prefixes.find((candidate) => rest.startsWith(candidate));
    if (prefix === undefined) return rest;
    rest = rest.slice(prefix.length);
  }
}

/** JSON for GET, for a `json` query flag and for a JSON content type; binary otherwise. */
export function isJsonCall(request: RpcRequest): boolean {
  if (request.verb === "GET" || isJsonFlag(request.query)) return true;
  return (request.contentType ?? "").split(";")[0]?.trim().toLowerCase() === JSON_TYPE;
}

const isJsonFlag = (query: URLSearchParams): boolean =>
  query.has("json") && ["", "true", "1"].includes(query.get("json") ?? "");

/** Carries out one call: authentication, decoding, handler, encoding. Never throws. */
export async function dispatch<Caller, Auth extends string>(
  service: RpcService<Caller, Auth>,
  request: RpcRequest,
  call: RpcCall,
): Promise<RpcResponse> {
  const json = isJsonCall(request);
  try {
    const route = service.routes.find((row) => row.method === call.method);
    if (route === undefined) throw new RpcError("unknown-method", `Service not found: ${excerpt(call.method)}`);
    const caller = await service.authenticate(route.auth, call, request.verb);
    if (request.body.length > route.bodyLimitBytes) {
      throw new RpcError("payload-too-large", "failed to read data: payload too large");
    }
    const input = decode(route.input, request, json);
    const output = create(route.output, await route.handle(input as never, caller, call));
    return encode(route, output, json, service.json);
  } catch (error) {
    const failure = error instanceof RpcError ? error : undefined;
    const text = errorChain(error);
    service.log[failure === undefined ? "error" : "info"](
      {
        method: excerpt(call.method),
        requestId: call.requestId,
        code: failure?.code,
        error: excerpt(text, LOGGED),
      },
      "call failed",
    );
    return errorResponse(failure?.status ?? 400, excerpt(text, ANSWERED), json, toldId(service, call.requestId));
  }
}

/** What of the request's id a service's errors say. */
export const toldId = ({ bareErrors }: { readonly bareErrors?: true }, requestId: string): string | undefined =>
  bareErrors === true ? undefined : requestId;

/**
 * A failure in the caller's form: `{"error": text}` pretty-printed, with `request_id` where the id
 * is given, or the PrpcError message, which has no place for one.
 */
export function errorResponse(status: number, text: string, json: boolean, requestId?: string): RpcResponse {
  return json
    ? { status, contentType: JSON_TYPE, body: utf8(JSON.stringify({ error: text, request_id: requestId }, null, 2)) }
    : {
        status,
        contentType: BINARY_TYPE,
        body: toBinary(prpc.PrpcErrorSchema, create(prpc.PrpcErrorSchema, { message: text })),
      };
}

function decode(schema: DescMessage, request: RpcRequest, json: boolean): MessageShape<DescMessage> {
  if (schema.fields.length === 0) return create(schema);
  if (request.verb === "GET") return messageFromQuery(schema, request.query);
  if (request.body.length === 0) return create(schema);
  if (json) {
    const text = decodeText(request.body);
    checkJsonShape(text);
    return messageFromJson(schema, parseJson(text));
  }
  try {
    return fromBinary(schema, request.body);
  } catch (cause) {
    throw new RpcError("bad-request", "request is not a valid protobuf message", { cause });
  }
}

function decodeText(body: Uint8Array): string {
  try {
    return utf8Decode(body, "request body");
  } catch (cause) {
    throw new RpcError("bad-request", "request is not valid JSON", { cause });
  }
}

function encode<Caller, Auth extends string>(
  route: Route<Caller, Auth>,
  output: MessageShape<DescMessage>,
  json: boolean,
  options: JsonOptions | undefined,
): RpcResponse {
  if (!json) return { status: 200, contentType: BINARY_TYPE, body: toBinary(route.output, output) };
  const value = messageToJson(route.output, output, options);
  const extended = value === null || route.extendJson === undefined ? value : route.extendJson(value);
  return { status: 200, contentType: JSON_TYPE, body: utf8(JSON.stringify(extended)) };
}
