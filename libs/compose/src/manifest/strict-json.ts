/**
 * RFC 8259 JSON where the reader must not be lenient: a repeated member is refused, integers
 * stay exact, nesting is bounded. Integers come as bigint, every other number as number, so
 * that `2` and `2.0` differ; objects have no prototype.
 */
import { ComposeError } from "../errors.ts";

export type StrictJson = string | bigint | number | boolean | null | StrictJson[] | StrictObject;
export interface StrictObject {
  [key: string]: StrictJson;
}

const MAX_DEPTH = 128;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;

/** @throws ComposeError `json-invalid` with the offset */
export function parseStrictJson(text: string): StrictJson {
  const reader = { text, at: 0 };
  const value = readValue(reader, 0);
  skipSpace(reader);
  if (reader.at !== text.length) throw broken(reader, "unexpected text after the value");
  return value;
}

interface Reader {
  readonly text: string;
  at: number;
}

function readValue(reader: Reader, depth: number): StrictJson {
  if (depth > MAX_DEPTH) throw broken(reader, `nested deeper than ${MAX_DEPTH} levels`);
  skipSpace(reader);
  switch (reader.text[reader.at]) {
    case "{":
      return readObject(reader, depth);
    case "[":
      return readArray(reader, depth);
    case '"':
      return readString(reader);
    case "t":
      return readWord(reader, "true", true);
    case "f":
      return readWord(reader, "false", false);
    case "n":
      return readWord(reader, "null", null);
    default:
      return readNumber(reader);
  }
}

function readObject(reader: Reader, depth: number): StrictObject {
  const out = Object.create(null) as StrictObject;
  reader.at++;
  if (peek(reader) === "}") {
    reader.at++;
    return out;
  }
  for (;;) {
    if (peek(reader) !== '"') throw broken(reader, "expected a member name");
    const key = readString(reader);
    if (Object.hasOwn(out, key)) throw broken(reader, `duplicate field \`${key}\``);
    if (peek(reader) !== ":") throw broken(reader, "expected `:`");
    reader.at++;
    out[key] = readValue(reader, depth + 1);
    const next = peek(reader);
    reader.at++;
    if (next === "}") return out;
    if (next !== ",") throw broken(reader, "expected `,` or `}`");
  }
}

function readArray(reader: Reader, depth: number): StrictJson[] {
  const out: StrictJson[] = [];
  reader.at++;
  if (peek(reader) === "]") {
    reader.at++;
    return out;
  }
  for (;;) {
    out.push(readValue(reader, depth + 1));
    const next = peek(reader);
    reader.at++;
    if (next === "]") return out;
    if (next !== ",") throw broken(reader, "expected `,` or `]`");
  }
}

/** Finds the closing quote; JSON.parse judges escapes and control characters in between. */
function readString(reader: Reader): string {
  let end = reader.at + 1;
  for (; end < reader.text.length; end++) {
    const code = reader.text.charCodeAt(end);
    if (code === 0x22) break;
    if (code === 0x5c) end++;
  }
  const literal = reader.text.slice(reader.at, end + 1);
  try {
    const value: unknown = JSON.parse(literal);
    if (typeof value !== "string") throw new Error("not a string");
    reader.at = end + 1;
    return value;
  } catch (cause) {
    throw new ComposeError("json-invalid", `not valid JSON at offset ${reader.at}: malformed string`, { cause });
  }
}

function readNumber(reader: Reader): bigint | number {
  const literal = take(reader, NUMBER, "a value");
  return /^-?\d+$/.test(literal) ? BigInt(literal) : Number(literal);
}

function readWord<T>(reader: Reader, word: string, value: T): T {
  if (!reader.text.startsWith(word, reader.at)) throw broken(reader, "expected a value");
  reader.at += word.length;
  return value;
}

function take(reader: Reader, pattern: RegExp, what: string): string {
  pattern.lastIndex = reader.at;
  const match = pattern.exec(reader.text)?.[0];
  if (match === undefined || match === "") throw broken(reader, `expected ${what}`);
  reader.at += match.length;
  return match;
}

function peek(reader: Reader): string | undefined {
  skipSpace(reader);
  return reader.text[reader.at];
}

function skipSpace(reader: Reader): void {
  SPACE.lastIndex = reader.at;
  SPACE.exec(reader.text);
  reader.at = SPACE.lastIndex;
}

const broken = (reader: Reader, why: string): ComposeError =>
  new ComposeError("json-invalid", `not valid JSON at offset ${reader.at}: ${why}`);
