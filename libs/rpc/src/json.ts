/**
 * The JSON form of pRPC messages. It is not protobuf's own JSON: member names are the
 * proto field names, bytes are lower-case hex, 64-bit integers are plain numbers, every
 * field is written, an absent optional field or message is null, an empty message is null.
 */
import { create, ScalarType, type DescField, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { endOfString, parseHex, parseJson as parseStrictJson, toHex } from "@dstack/bytes";
import { RpcError } from "./errors.ts";

export type JsonObject = { [name: string]: unknown };

export interface JsonOptions {
  /** Field names that are left out when empty, for readers that reject them. */
  readonly omitWhenEmpty?: readonly string[];
}

const EXPLICIT_PRESENCE = 1;

/** Message to a value for `JSON.stringify`: an object, or null for a message without fields. */
export function messageToJson<D extends DescMessage>(
  schema: D,
  message: MessageShape<D>,
  options: JsonOptions = {},
): JsonObject | null {
  if (schema.fields.length === 0) return null;
  const out: JsonObject = {};
  const values = message as unknown as Record<string, unknown>;
  for (const field of schema.fields) {
    const value = values[field.localName];
    if (options.omitWhenEmpty?.includes(field.name) && isEmpty(value)) continue;
    out[field.name] = fieldToJson(field, value, options);
  }
  return out;
}

/**
 * Parsed JSON to a message. Unknown members are ignored, missing ones take their default,
 * null counts as missing only where the field has presence.
 * @throws RpcError `bad-request` naming the member
 */
export function messageFromJson<D extends DescMessage>(schema: D, json: unknown, path = ""): MessageShape<D> {
  const message = create(schema);
  if (json === undefined || (json === null && path === "")) return message;
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new RpcError("bad-request", `invalid ${path || "request"}: expected an object, got ${kindOf(json)}`);
  }
  const members = json as JsonObject;
  const target = message as unknown as Record<string, unknown>;
  for (const field of schema.fields) {
    if (!Object.hasOwn(members, field.name)) continue;
    const value = members[field.name];
    if (value === undefined) continue;
    if (value === null && hasPresence(field)) continue;
    target[field.localName] = fieldFromJson(field, value, path === "" ? field.name : `${path}.${field.name}`);
  }
  return message;
}

/**
 * A query string (`a=1&b=two&b=three`) to a message, as GET calls carry it.
 * @throws RpcError `bad-request`
 */
export function messageFromQuery<D extends DescMessage>(schema: D, query: URLSearchParams): MessageShape<D> {
  const json: JsonObject = {};
  for (const field of schema.fields) {
    if (!query.has(field.name)) continue;
    if (field.fieldKind !== "list" && query.getAll(field.name).length > 1)
      throw new RpcError("bad-request", `invalid ${field.name}: is said twice`);
    if (field.fieldKind === "list" && field.listKind === "scalar") {
      json[field.name] = query.getAll(field.name).map((text) => scalarText(field.scalar, text));
    } else if (field.fieldKind === "scalar") {
      json[field.name] = scalarText(field.scalar, query.get(field.name) ?? "");
    }
  }
  return messageFromJson(schema, json);
}

/** No integer of a message has more digits, and reading one costs more than its length. */
const WIDE_INTEGER = /^(?:0|-?[1-9]\d{0,19})$/;

/**
 * The bytes' `parseJson` that keeps integers beyond 2^53 exact, as bigint.
 * @throws RpcError `bad-request`
 */
export function parseJson(text: string): unknown {
  try {
    return parseStrictJson(text, "request", { reviver: exactInteger });
  } catch (error) {
    throw new RpcError("bad-request", (error as Error).message);
  }
}

/** No message has another kind of number, and 2.0 is none to readers of the reference. */
function exactInteger(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || context?.source === undefined) return value;
  if (!WIDE_INTEGER.test(context.source)) return Number.NaN;
  return Number.isSafeInteger(value) ? value : BigInt(context.source);
}

const MAX_DEPTH = 64;
/** Seconds of parsing apart from the bytes: no request of this interface comes near it. */
const MAX_VALUES = 100_000;

/**
 * Refuses JSON that would take long to parse for its size: many values or deep nesting.
 * @throws RpcError `bad-request`
 */
export function checkJsonShape(text: string): void {
  let depth = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at + 1);
        break;
      case 0x5b: // [
      case 0x7b: // {
        depth++;
        values++;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
      case 0x2c: // ,
        values++;
        break;
    }
    if (depth > MAX_DEPTH || values > MAX_VALUES) {
      throw new RpcError(
        "bad-request",
        `request is not valid JSON for this interface: at most ${MAX_VALUES} values and ${MAX_DEPTH} levels`,
      );
    }
  }
}

function fieldToJson(field: DescField, value: unknown, options: JsonOptions): unknown {
  switch (field.fieldKind) {
    case "scalar":
      return value === undefined ? null : scalarToJson(field.scalar, value);
    case "message":
      return value === undefined ? null : messageToJson(field.message, value as never, options);
    case "list": {
      const list = (value ?? []) as unknown[];
      if (field.listKind === "scalar") return list.map((item) => scalarToJson(field.scalar, item));
      if (field.listKind === "message") return list.map((item) => messageToJson(field.message, item as never, options));
      return list;
    }
    default:
      throw new RpcError("handler-failed", `field ${field.name}: kind ${field.fieldKind} has no pRPC JSON form`);
  }
}

function scalarToJson(type: ScalarType, value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  if (typeof value === "bigint") return rawInteger(value);
  if (type === ScalarType.BYTES) return "";
  return value;
}

const rawInteger = (value: bigint): unknown =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());

function fieldFromJson(field: DescField, value: unknown, path: string): unknown {
  switch (field.fieldKind) {
    case "scalar":
      return scalarFromJson(field.scalar, value, path);
    case "message":
      return messageFromJson(field.message, value, path);
    case "list": {
      if (!Array.isArray(value))
        throw new RpcError("bad-request", `invalid ${path}: expected an array, got ${kindOf(value)}`);
      if (field.listKind === "scalar")
        return value.map((item, i) => scalarFromJson(field.scalar, item, `${path}[${i}]`));
      if (field.listKind === "message")
        return value.map((item, i) => messageFromJson(field.message, item, `${path}[${i}]`));
      return value;
    }
    default:
      throw new RpcError("bad-request", `invalid ${path}: kind ${field.fieldKind} has no pRPC JSON form`);
  }
}

function scalarFromJson(type: ScalarType, value: unknown, path: string): unknown {
  switch (type) {
    case ScalarType.STRING:
      if (typeof value === "string") return value;
      break;
    case ScalarType.BOOL:
      if (typeof value === "boolean") return value;
      break;
    case ScalarType.BYTES:
      if (typeof value === "string") return bytesFromHex(value, path);
      break;
    case ScalarType.UINT32:
      return integerIn(value, 0n, 0xffff_ffffn, path, Number);
    case ScalarType.INT32:
      return integerIn(value, -0x8000_0000n, 0x7fff_ffffn, path, Number);
    case ScalarType.UINT64:
      return integerIn(value, 0n, (1n << 64n) - 1n, path, (integer) => integer);
    case ScalarType.INT64:
      return integerIn(value, -(1n << 63n), (1n << 63n) - 1n, path, (integer) => integer);
    default:
      break;
  }
  throw new RpcError(
    "bad-request",
    `invalid ${path}: expected ${ScalarType[type]?.toLowerCase() ?? "a scalar"}, got ${kindOf(value)}`,
  );
}

/** Peers prefix hex with any number of `0x`. */
function bytesFromHex(text: string, path: string): Uint8Array {
  let digits = text;
  while (digits.startsWith("0x") || digits.startsWith("0X")) digits = digits.slice(2);
  try {
    return parseHex(digits, path);
  } catch (cause) {
    throw new RpcError("bad-request", `invalid ${path}`, { cause });
  }
}

function integerIn<T>(value: unknown, low: bigint, high: bigint, path: string, wrap: (integer: bigint) => T): T {
  if (typeof value !== "bigint" && !(typeof value === "number" && Number.isInteger(value))) {
    throw new RpcError("bad-request", `invalid ${path}: expected an integer, got ${kindOf(value)}`);
  }
  const integer = BigInt(value);
  if (integer < low || integer > high) throw new RpcError("bad-request", `invalid ${path}: ${integer} is out of range`);
  return wrap(integer);
}

function scalarText(type: ScalarType, text: string): unknown {
  if (type === ScalarType.STRING || type === ScalarType.BYTES) return text;
  if (type === ScalarType.BOOL) return text === "true" ? true : text === "false" ? false : text;
  return /^-?\d{1,20}$/.test(text) ? BigInt(text) : text;
}

const hasPresence = (field: DescField): boolean =>
  field.fieldKind === "message" || field.presence === EXPLICIT_PRESENCE;

function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    value === "" ||
    (value instanceof Uint8Array && value.length === 0) ||
    (Array.isArray(value) && value.length === 0)
  );
}

const kindOf = (value: unknown): string =>
  value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
