import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { isTable, type Table } from "./table.ts";

/** A key of the reference that this program does not act on, and what becomes of a file that has it. */
export interface UnreadKey {
  /** As dots join it. */
  readonly key: string;
  /** What the reference takes there: anything else is refused by name. */
  readonly type: z.ZodType;
  /**
   * Where the value asks for something: `silent` for what only tunes; `told` where somebody may
   * wait for an effect; `refused` where somebody may feel protected by it.
   */
  readonly otherwise: "silent" | "told" | "refused";
  /** Values that ask for nothing: the reference's defaults. */
  readonly harmless: readonly unknown[];
  /** Why nothing comes of it, as the end of a sentence: "has no effect: ...". */
  readonly why: string;
}

/** A setting, as an operator would write it, of which nothing comes, and why. */
export interface WithoutEffect {
  readonly setting: string;
  readonly reason: string;
}

export const silent = (key: string, type: z.ZodType, why: string): UnreadKey => ({
  key,
  type,
  otherwise: "silent",
  harmless: [],
  why,
});

export const told = (key: string, type: z.ZodType, harmless: readonly unknown[], why: string): UnreadKey => ({
  key,
  type,
  otherwise: "told",
  harmless,
  why,
});

export const refused = (key: string, type: z.ZodType, harmless: readonly unknown[], why: string): UnreadKey => ({
  key,
  type,
  otherwise: "refused",
  harmless,
  why,
});

/**
 * Checks what a file says at the keys that nothing acts on.
 * @throws ConfigError `invalid` naming the key: a wrong type, something else in the place of a table
 * that it stands in, or a value that would feel like protection
 */
export function judgeUnread(table: Table, keys: readonly UnreadKey[], file: string): WithoutEffect[] {
  return keys.flatMap(({ key, type, otherwise, harmless, why }) => {
    const value = valueAt(table, key, file);
    if (value === undefined) return [];
    const parsed = type.safeParse(value);
    if (!parsed.success) throw new ConfigError("invalid", `${file}: ${key}: ${z.prettifyError(parsed.error)}`);
    if (otherwise === "silent" || harmless.some((one) => isDeepStrictEqual(one, value))) return [];
    const setting = isTable(value) ? key : `${key} = ${JSON.stringify(value)}`;
    if (otherwise === "told") return [{ setting, reason: `has no effect: ${why}` }];
    const mend = harmless.length === 0 ? "remove it" : `remove it, or set it to ${JSON.stringify(harmless[0])}`;
    throw new ConfigError("invalid", `${file}: ${setting} would have no effect: ${why}; ${mend}`);
  });
}

/** The table without these keys, and without tables that held nothing else: what is left over is unknown. */
export function withoutUnread(table: Table, keys: readonly UnreadKey[]): Table {
  return keys.reduce((rest, { key }) => withoutKey(rest, key.split(".")), table);
}

function withoutKey(table: Table, [name = "", ...deeper]: readonly string[]): Table {
  const { [name]: value, ...rest } = table;
  if (deeper.length === 0 || !isTable(value)) return deeper.length === 0 ? rest : table;
  const left = withoutKey(value, deeper);
  return Object.keys(left).length === 0 ? rest : { ...rest, [name]: left };
}

/** A scalar or a list where a table stands could mean to turn on what its keys would have refused. */
function valueAt(table: Table, key: string, file: string): unknown {
  let value: unknown = table;
  const above: string[] = [];
  for (const name of key.split(".")) {
    if (!isTable(value))
      throw new ConfigError("invalid", `${file}: ${above.join(".")}: expected a table, [${above.join(".")}]`);
    value = Object.hasOwn(value, name) ? value[name] : undefined;
    if (value === undefined) return undefined;
    above.push(name);
  }
  return value;
}
