import { readFile } from "node:fs/promises";
import { parse as parseToml, TomlError } from "smol-toml";
import { z } from "zod";
import { parseJson } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { ConfigError } from "./errors.ts";
import { refuseNearMisses } from "./near-misses.ts";
import { mergeDeep, type Table } from "./table.ts";
import { unknownKeys, type UnknownKey } from "./unknown-keys.ts";
import { judgeUnread, withoutUnread, type UnreadKey, type WithoutEffect } from "./unread-keys.ts";

export interface LoadConfigOptions<S extends z.ZodType> {
  /** Leaf name of the search files: `vmm` looks for /etc/vmm/vmm.toml, /etc/vmm/vmm.json, ./vmm.toml, ./vmm.json. */
  readonly name: string;
  /** The `-c` file: must exist, and wins over the search files. `.toml` is TOML, anything else JSON. */
  readonly file: string | undefined;
  /** Wins over every file: what the environment or the command line says. */
  readonly overrides?: Readonly<Table>;
  /** Checks the merged tables and fills defaults. */
  readonly schema: S;
  /** Folder that relative search names resolve against. */
  readonly cwd?: string;
  /** Keys of the reference that this program does not act on. */
  readonly unread?: readonly UnreadKey[];
  /** Keys without which less is refused, as dots join them: an unknown key that looks like one ends the start. */
  readonly protects?: readonly string[];
}

export interface LoadedConfig<T> {
  readonly config: T;
  /** What deserves a word to the operator; `warnOf` says it in a log. */
  readonly unknownKeys: readonly UnknownKey[];
  readonly withoutEffect: readonly WithoutEffect[];
}

/**
 * Merges the layers (later wins, tables key by key, arrays whole) and checks them.
 * @throws ConfigError naming file and key
 */
export async function loadConfig<S extends z.ZodType>(
  options: LoadConfigOptions<S>,
): Promise<LoadedConfig<z.output<S>>> {
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
  const { schema, unread = [], protects = [] } = options;
  const name = options.file ?? options.name;
  const withoutEffect = judgeUnread(merged, unread, name);
  const parsed = schema.safeParse(merged);
  if (!parsed.success) throw new ConfigError("invalid", `${name}: ${z.prettifyError(parsed.error)}`);
  const unknown = unknownKeys(schema, withoutUnread(merged, unread));
  refuseNearMisses(unknown, protects, name);
  return { config: parsed.data, unknownKeys: unknown, withoutEffect };
}

/** One line for each thing in the files that nothing comes of. */
export function warnOf(
  log: Logger,
  { unknownKeys: unknown, withoutEffect }: Omit<LoadedConfig<unknown>, "config">,
): void {
  for (const { setting, reason } of withoutEffect) log.warn({ setting }, reason);
  for (const { key, suggestion } of unknown)
    log.warn(
      { setting: key, ...(suggestion === undefined ? {} : { suggestion }) },
      "unknown configuration key is ignored",
    );
}

/** @throws ConfigError `syntax` with line and column: what stands there may be a secret, and errors are logged */
function parseConfigText(text: string, path: string): Table {
  const value = path.endsWith(".toml") ? tomlOf(text, path) : jsonOf(text, path);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ConfigError("syntax", `${path}: expected a table`);
  return value as Table;
}

function tomlOf(text: string, path: string): unknown {
  try {
    return parseToml(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The first line says what is wrong, the others show the text. No cause, for it has them too.
    const [what] = error.message.split("\n");
    // oxlint-disable-next-line preserve-caught-error
    throw new ConfigError("syntax", `${path}: line ${error.line}, column ${error.column}: ${what}`);
  }
}

function jsonOf(text: string, path: string): unknown {
  try {
    return parseJson(text, path);
  } catch (cause) {
    throw new ConfigError("syntax", (cause as Error).message, { cause });
  }
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
