/**
 * OpenAPI 3.1 description of pRPC services, made from their route tables: what is served is what
 * is described. Schemas are those of the JSON form (see json.ts), so bytes are hex text.
 */
import { ScalarType, type DescField, type DescMessage } from "@bufbuild/protobuf";
import type { JsonObject } from "./json.ts";
import type { Route } from "./route.ts";

export interface DescribedService {
  /** Where it is mounted, ending in `/`, e.g. `/prpc/`. */
  readonly path: string;
  readonly service: {
    readonly routes: readonly Pick<Route<never>, "method" | "auth" | "input" | "output" | "bodyLimitBytes">[];
  };
  /** What each authentication rule of its rows asks of a caller, in words. */
  readonly rules: Readonly<Record<string, string>>;
}

/** A plain route beside the RPC ones. */
export interface DescribedRoute {
  readonly path: string;
  readonly summary: string;
  /** Media types of the answer. */
  readonly answers: readonly string[];
  /** GET unless given. */
  readonly verb?: "get" | "post";
  /** What else it answers, by status. */
  readonly otherwise?: Readonly<Record<number, string>>;
}

export interface OpenApiOptions {
  readonly title: string;
  readonly version: string;
  readonly services: readonly DescribedService[];
  readonly routes?: readonly DescribedRoute[];
}

/** The document, for `JSON.stringify`. Every row of the tables is in it, with its authentication rule. */
export function openApiDocument({ title, version, services, routes = [] }: OpenApiOptions): JsonObject {
  const schemas: JsonObject = {
    Error: { type: "object", properties: { error: { type: "string" } }, required: ["error"] },
  };
  const paths: JsonObject = {};
  for (const { path, service, rules } of services) {
    for (const row of service.routes) {
      addSchema(schemas, row.input);
      addSchema(schemas, row.output);
      const caller = `Caller: ${rules[row.auth] ?? row.auth}.`;
      paths[`${path}${row.method}`] = {
        get: {
          operationId: `${row.method}ByQuery`,
          description: `${caller} JSON; the request's fields in the query.`,
          "x-dstack-auth": row.auth,
          parameters: row.input.fields
            .filter(isQueryField)
            .map((field) => ({ name: field.name, in: "query", schema: fieldSchema(field) })),
          responses: answers(jsonContent(row.output), jsonError),
        },
        post: {
          operationId: row.method,
          description: `${caller} At most ${row.bodyLimitBytes} bytes. Protobuf where neither the query flag "json" nor the content type asks for JSON.`,
          "x-dstack-auth": row.auth,
          parameters: [{ name: "json", in: "query", allowEmptyValue: true, schema: { type: "string" } }],
          ...(row.input.fields.length === 0
            ? {}
            : { requestBody: { content: { ...jsonContent(row.input), ...PROTOBUF } } }),
          responses: answers({ ...jsonContent(row.output), ...PROTOBUF }, { ...jsonError, ...PROTOBUF }),
        },
      };
    }
  }
  for (const { path, summary, answers: types, verb = "get", otherwise = {} } of routes) {
    const others = Object.fromEntries(
      Object.entries(otherwise).map(([status, description]) => [status, { description }]),
    );
    paths[path] = {
      [verb]: {
        summary,
        responses: {
          200: { description: "OK", content: Object.fromEntries(types.map((type) => [type, {}])) },
          ...others,
        },
      },
    };
  }
  return { openapi: "3.1.0", info: { title, version }, paths, components: { schemas } };
}

const PROTOBUF: JsonObject = { "application/octet-stream": {} };
const jsonError: JsonObject = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
const answers = (done: JsonObject, failed: JsonObject): JsonObject => ({
  200: { description: "Done", content: done },
  400: { description: "Refused or failed; the text says why", content: failed },
});
/** As `messageFromQuery` reads them. */
const isQueryField = (field: DescField): boolean =>
  field.fieldKind === "scalar" || (field.fieldKind === "list" && field.listKind === "scalar");
const jsonContent = (message: DescMessage): JsonObject => ({ "application/json": { schema: schemaOf(message) } });
const schemaOf = (message: DescMessage): JsonObject =>
  message.fields.length === 0 ? { type: "null" } : reference(message.name);
const reference = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });

function addSchema(schemas: JsonObject, message: DescMessage): void {
  if (message.fields.length === 0 || schemas[message.name] !== undefined) return;
  const properties: JsonObject = {};
  schemas[message.name] = { type: "object", properties };
  for (const field of message.fields) {
    properties[field.name] = fieldSchema(field);
    if (field.message !== undefined) addSchema(schemas, field.message);
  }
}

function fieldSchema(field: DescField): JsonObject {
  switch (field.fieldKind) {
    case "scalar":
      return orNull(scalarSchema(field.scalar), field);
    case "message":
      return { anyOf: [schemaOf(field.message), { type: "null" }] };
    case "list":
      return {
        type: "array",
        items:
          field.listKind === "scalar"
            ? scalarSchema(field.scalar)
            : field.listKind === "message"
              ? schemaOf(field.message)
              : {},
      };
    default:
      return {};
  }
}

/** Absent optional fields are null in answers. */
const orNull = (schema: JsonObject, field: DescField): JsonObject =>
  field.proto.proto3Optional ? { ...schema, type: [schema["type"], "null"] } : schema;

function scalarSchema(type: ScalarType): JsonObject {
  switch (type) {
    case ScalarType.BYTES:
      return { type: "string", pattern: "^(0[xX])*([0-9a-fA-F]{2})*$", description: "hex" };
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.UINT32:
      return { type: "integer", minimum: 0, maximum: 0xffff_ffff };
    case ScalarType.UINT64:
      return { type: "integer", format: "uint64", minimum: 0 };
    case ScalarType.INT32:
      return { type: "integer", format: "int32" };
    case ScalarType.INT64:
      return { type: "integer", format: "int64" };
    default:
      return { type: "number" };
  }
}
