import { readFile } from "node:fs/promises";
import { parse as parseToml } from "smol-toml";
import { z } from "zod";
import type { Logger } from "@dstack/log";
import { ConfigError } from "./errors.ts";

export interface LoadConfigOptions<S extends z.ZodType> {
  /** Leaf name of the search files: `vmm` looks for /etc/vmm/vmm.toml, /etc/vmm/vmm.json, ./vmm.toml, ./vmm.json. */
  readonly name: string;
  /** The `-c` file: must exist, and wins over the search files. `.toml` is TOML, anything else JSON. */
  readonly file: string | undefined;
  /** Wins over every file: what the environment or the command line says. */
  readonly overrides?: Readonly<Table>;
  /** Checks the merged tables and fills defaults. */
  readonly schema: S;
  readonly log: Logger;
  /** Folder that relative search names resolve against. */
  readonly cwd?: string;
  /** Keys of the reference that have no effect here and deserve no warning. */
  readonly silentKeys?: readonly string[];
}

type Table = { [key: string]: unknown };

/**
 * Merges the layers (later wins, tables key by key, arrays whole), checks them and warns about
 * keys that nothing reads, with the nearest known key as a suggestion (DS #830).
 * @throws ConfigError naming file and key
 */
export async function loadConfig<S extends z.ZodType>(options: LoadConfigOptions<S>): Promise<z.output<S>> {
  const cwd = options.cwd ?? process.cwd();
  const search = [
    `/etc/${options.name}/${options.name}.toml`,
    `/etc/${options.name}/${options.name}.json`,
    `${cwd}/${options.name}.toml`,
    `${cwd}/${options.name}.json`,
  ];
  let merged: Table = {};
  for (const path of search) merged = mergeDeep(merged, (await readTable(path, false)) ?? {});
  if (options.file !== undefined) merged = mergeDeep(merged, (await readTable(options.file, true)) ?? {});
  merged = mergeDeep(merged, options.overrides ?? {});
  const parsed = options.schema.safeParse(merged);
  if (!parsed.success) {
    throw new ConfigError("invalid", `${options.file ?? options.name}: ${z.prettifyError(parsed.error)}`);
  }
  warnUnknown(options, merged, knownKeys(options.schema));
  return parsed.data;
}

/** @throws ConfigError `syntax` with line and column */
export function parseConfigText(text: string, path: string): Table {
  try {
    const value: unknown = path.endsWith(".toml") ? parseToml(text) : JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("expected a table");
    return value as Table;
  } catch (cause) {
    throw new ConfigError("syntax", `${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Tables merge key by key; everything else of `over` replaces what `base` has. */
export function mergeDeep(base: Table, over: Table): Table {
  const out: Table = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = out[key];
    out[key] = isTable(old) && isTable(value) ? mergeDeep(old, value) : value;
  }
  return out;
}

async function readTable(path: string, required: boolean): Promise<Table | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ConfigError("unreadable", `configuration ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  return parseConfigText(text, path);
}

const isTable = (value: unknown): value is Table =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

type Known = ReadonlyMap<string, Known> | "anything";

/** The tree of keys that an object schema knows, read off its shape. */
function knownKeys(schema: z.ZodType): Known {
  let inner: z.ZodType = schema;
  for (let depth = 0; depth < 16; depth++) {
    const def = inner.def as { innerType?: z.ZodType; in?: z.ZodType };
    const next = def.innerType ?? def.in;
    if (next === undefined) break;
    inner = next;
  }
  if (!(inner instanceof z.ZodObject)) return "anything";
  return new Map(
    Object.entries(inner.shape as Record<string, z.ZodType>).map(([key, child]) => [key, knownKeys(child)]),
  );
}

function warnUnknown(
  options: Pick<LoadConfigOptions<z.ZodType>, "log" | "silentKeys">,
  table: Table,
  known: Known,
  path = "",
): void {
  if (known === "anything") return;
  for (const [key, value] of Object.entries(table)) {
    const full = path === "" ? key : `${path}.${key}`;
    if (options.silentKeys?.includes(full) === true) continue;
    const child = known.get(key);
    if (child === undefined) {
      const near = nearest(key, [...known.keys()]);
      options.log.warn(
        { setting: full, ...(near === undefined ? {} : { suggestion: near }) },
        "unknown configuration key is ignored",
      );
    } else if (isTable(value)) {
      warnUnknown(options, value, child, full);
    }
  }
}

function nearest(key: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(key.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(key, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
