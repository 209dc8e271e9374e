/** pRPC: one route table per service, JSON and protobuf on the wire, server and client. */
export { RpcError } from "./errors.ts";
export type { RpcErrorCode } from "./errors.ts";
export { messageFromJson, messageFromQuery, messageToJson, parseJson } from "./json.ts";
export type { JsonObject, JsonOptions } from "./json.ts";
export { DEFAULT_BODY_LIMIT_BYTES, route } from "./route.ts";
export type { Route, RpcCall } from "./route.ts";
export { dispatch, errorResponse, isJsonCall, stripPrefixes } from "./dispatch.ts";
export type { RpcRequest, RpcResponse, RpcService } from "./dispatch.ts";
export { openApiDocument } from "./openapi.ts";
export type { DescribedRoute, DescribedService, OpenApiOptions } from "./openapi.ts";
export { mount, readBody, startHttpServer } from "./http-server.ts";
export type { HttpExchange, HttpRoute, HttpServer, HttpServerOptions, Listen, RpcMount } from "./http-server.ts";
export { networkOf } from "./network-of.ts";
export { callRpc, httpTransport, remoteSaid } from "./client.ts";
export type { CallOptions, HttpTransportOptions, RpcAnswer, RpcTransport } from "./client.ts";
