import { excerpt } from "@dstack/errors";
import { BytesError } from "./errors.ts";

export interface ParseJsonOptions {
  /** As that of `JSON.parse`; every member must stay. */
  readonly reviver?: (this: unknown, key: string, value: unknown, context?: { readonly source?: string }) => unknown;
  /** Numbers that are not written as integers (2.0, 2e0, -0) become NaN: readers in other languages refuse them for one. */
  readonly integersAsWritten?: boolean;
}

/**
 * `JSON.parse` for text from outside, which must mean one thing to every reader: a member said twice
 * (readers differ in which they take) and text that is no well-formed Unicode (it is replaced when it is
 * encoded, so two names become one) are refused. Nothing of the text is in the error but a member's name.
 * @throws BytesError `json-invalid`, `json-repeated`, `json-ill-formed`
 */
export function parseJson(text: string, what = "text", options: ParseJsonOptions = {}): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text, options.reviver);
  } catch {
    // The runtime's own text quotes what stands there.
    throw new BytesError("json-invalid", `${what}: not valid JSON`);
  }
  const { colons, onlyNaturals } = scan(text);
  if (options.integersAsWritten === true && !onlyNaturals) value = JSON.parse(text, integersAsWritten);
  // Of a member said twice one is gone, so that there are fewer than colons.
  if (countMembers(value, what) !== colons) {
    const member = excerpt(repeatedMember(text) ?? "", { maxChars: 40 });
    throw new BytesError("json-repeated", `${what}: "${member}" is said twice`, { facts: { member } });
  }
  return value;
}

/** Members of all objects; on the way each text is looked at. */
function countMembers(value: unknown, what: string): number {
  let count = 0;
  // No recursion: the text decides how deep it goes.
  const open: object[] = [];
  const look = (part: unknown): void => {
    if (typeof part === "string") {
      if (!part.isWellFormed()) throw new BytesError("json-ill-formed", `${what}: holds text that is no valid Unicode`);
    } else if (typeof part === "object" && part !== null) open.push(part);
  };
  look(value);
  for (let part = open.pop(); part !== undefined; part = open.pop()) {
    if (Array.isArray(part)) for (const item of part) look(item);
    else {
      const object = part as Readonly<Record<string, unknown>>;
      for (const key of Object.keys(object)) {
        count++;
        look(key);
        look(object[key]);
      }
    }
  }
  return count;
}

const INTEGER = /^(?:0|-?[1-9]\d*)$/;

const integersAsWritten: ParseJsonOptions["reviver"] = (_key, value, context) =>
  typeof value === "number" && !INTEGER.test(context?.source ?? "") ? Number.NaN : value;

/** Colons outside of texts, and whether each number there is written with digits alone. */
function scan(text: string): { readonly colons: number; readonly onlyNaturals: boolean } {
  let colons = 0;
  let onlyNaturals = true;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x3a: // :
        colons++;
        break;
      case 0x22: // "
        at = endOfString(text, at + 1);
        break;
      case 0x2e: // .
      case 0x2d: // -
      case 0x45: // E
        onlyNaturals = false;
        break;
      case 0x65: // e, in true and false behind a letter
        if (text.charCodeAt(at - 1) < 0x3a) onlyNaturals = false;
        break;
    }
  }
  return { colons, onlyNaturals };
}

/** Where the string that starts at `at` has its closing quote, or the end of the text. */
export function endOfString(text: string, at: number): number {
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote === -1) return text.length;
    let backslashes = 0;
    while (quote - 1 - backslashes >= at && text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return quote;
    at = quote + 1;
  }
}

/** Compared as they read, not as they are spelled: `a` and `\u0061` are the same. */
function repeatedMember(json: string): string | undefined {
  const outer: Set<string>[] = [];
  let keys = new Set<string>();
  for (const [token, string, colon] of json.matchAll(/("[^"\\]*(?:\\.[^"\\]*)*")([ \t\r\n]*:)?|[{}]/g)) {
    if (token === "{") {
      outer.push(keys);
      keys = new Set();
    } else if (token === "}") {
      keys = outer.pop() ?? keys;
    } else if (string !== undefined && colon !== undefined) {
      const key = JSON.parse(string) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
