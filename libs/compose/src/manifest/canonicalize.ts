import canonicalizeJson from "canonicalize";
import type { StrictJson } from "./strict-json.ts";

/** RFC 8785 text of a strictly parsed value. */
export function canonicalize(value: StrictJson): string {
  // Undefined comes back only for undefined, which StrictJson excludes.
  return canonicalizeJson(plain(value)) ?? "null";
}

function plain(value: StrictJson): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
  return value;
}
