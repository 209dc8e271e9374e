import { ComposeError } from "../errors.ts";
import type { StrictJson, StrictObject } from "./strict-json.ts";

/** Reads one JSON object's members by type; null equals absent only where `nullable` is said. */
export interface Fields {
  text(name: string): string;
  optionalText(name: string, nullable?: "nullable"): string | undefined;
  flag(name: string, fallback: boolean): boolean;
  optionalFlag(name: string): boolean | undefined;
  texts(name: string): readonly string[] | undefined;
  objects(name: string): readonly Fields[];
  object(name: string, nullable?: "nullable"): Fields | undefined;
  integer(name: string, low: bigint, high: bigint): bigint | undefined;
  raw(name: string): StrictJson | undefined;
  readonly names: readonly string[];
  /** @throws ComposeError `manifest-invalid` when a member is not listed */
  onlyKnown(known: readonly string[]): void;
}

/** @throws ComposeError `manifest-invalid` unless an object */
export function fieldsOf(value: StrictJson, path: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw wrong(path || "app-compose.json", "an object", value);
  const object: StrictObject = value;
  const at = (name: string): string => (path === "" ? name : `${path}.${name}`);
  const raw = (name: string): StrictJson | undefined => (Object.hasOwn(object, name) ? object[name] : undefined);
  const given = (name: string, nullable: "nullable" | undefined): StrictJson | undefined => {
    const member = raw(name);
    return member === null && nullable !== undefined ? undefined : member;
  };
  const optionalText: Fields["optionalText"] = (name, nullable) => {
    const member = given(name, nullable);
    if (member === undefined || typeof member === "string") return member;
    throw wrong(at(name), "a string", member);
  };
  const optionalFlag = (name: string): boolean | undefined => {
    const member = raw(name);
    if (member === undefined || typeof member === "boolean") return member;
    throw wrong(at(name), "true or false", member);
  };
  const list = (name: string): readonly StrictJson[] | undefined => {
    const member = raw(name);
    if (member === undefined || Array.isArray(member)) return member;
    throw wrong(at(name), "an array", member);
  };
  return {
    raw,
    optionalText,
    optionalFlag,
    names: Object.keys(object),
    text: (name) => {
      const member = optionalText(name);
      if (member === undefined) throw new ComposeError("manifest-invalid", `missing field \`${at(name)}\``);
      return member;
    },
    flag: (name, fallback) => optionalFlag(name) ?? fallback,
    texts: (name) =>
      list(name)?.map((item, i) => {
        if (typeof item !== "string") throw wrong(`${at(name)}[${i}]`, "a string", item);
        return item;
      }),
    objects: (name) => (list(name) ?? []).map((item, i) => fieldsOf(item, `${at(name)}[${i}]`)),
    object: (name, nullable) => {
      const member = given(name, nullable);
      return member === undefined ? undefined : fieldsOf(member, at(name));
    },
    integer: (name, low, high) => {
      const member = raw(name);
      if (member === undefined) return undefined;
      if (typeof member !== "bigint") throw wrong(at(name), "an integer", member);
      if (member < low || member > high)
        throw new ComposeError("manifest-invalid", `${at(name)}: ${member} is out of range ${low} to ${high}`);
      return member;
    },
    onlyKnown: (known) => {
      const unknown = Object.keys(object).find((name) => !known.includes(name));
      if (unknown !== undefined)
        throw new ComposeError(
          "manifest-invalid",
          `unknown field \`${at(unknown)}\`, expected one of ${known.join(", ")}`,
        );
    },
  };
}

const wrong = (path: string, expected: string, got: StrictJson): ComposeError =>
  new ComposeError(
    "manifest-invalid",
    `${path}: expected ${expected}, got ${got === null ? "null" : Array.isArray(got) ? "an array" : typeof got === "bigint" ? "an integer" : `a ${typeof got}`}`,
  );
