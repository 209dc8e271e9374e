import { open, type FileHandle } from "node:fs/promises";
import { readChain, type AuditRecord, type ChainHead, type ChainItem } from "@dstack/audit-log";
import { CliError } from "../terminal/errors.ts";
import { print, printJson, say, table, type OutputFormat } from "../terminal/output.ts";

/** `dstack kms audit verify`: exit code 0 where the chain holds, 3 where it does not. */
export async function auditVerifyCommand(
  path: string,
  options: { readonly contains?: string; readonly output: OutputFormat },
): Promise<number> {
  const contains = options.contains?.toLowerCase();
  if (contains !== undefined && !/^[0-9a-f]{64}$/.test(contains))
    throw new CliError("usage", "--contains: expected the 64 hex digits of a line's hash");
  let found = contains === undefined;
  let first: string | undefined;
  let last: string | undefined;
  const end = await follow(path, (record, head) => {
    found ||= head.hash === contains;
    first ??= record.time;
    last = record.time;
  });
  const problem =
    problemOf(end) ??
    (found ? undefined : `no line has the hash ${contains}: lines were taken off, or this is another log`);
  const { seq, hash } = end.head;
  const torn = end.kind === "torn" ? end.bytes : 0;
  if (options.output === "json") {
    printJson({
      ok: problem === undefined,
      lines: seq,
      hash,
      first: first ?? null,
      last: last ?? null,
      torn_bytes: torn,
      broken_line: end.kind === "broken" ? seq + 1 : null,
      reason: problem ?? null,
    });
  } else if (problem === undefined) {
    print(`${seq} lines, the chain holds${first === undefined ? "" : `; ${first} to ${last}`}\nlast hash ${hash}`);
    if (torn > 0) say(`${torn} bytes behind the last line: a record that was being written, or was cut by a kill`);
  } else {
    print(`broken: ${problem}\n${seq} lines before it hold; their last hash is ${hash}`);
  }
  return problem === undefined ? 0 : 3;
}

export interface AuditShowOptions {
  readonly app?: string;
  readonly instance?: string;
  readonly result?: string;
  readonly since?: string;
  readonly until?: string;
  readonly last: string;
  readonly output: OutputFormat;
}

/** `dstack kms audit show`: the newest records that match, oldest first. */
export async function auditShowCommand(path: string, options: AuditShowOptions): Promise<number> {
  const limit = Number(options.last);
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > 1_000_000)
    throw new CliError("usage", `--last: expected a number from 1 to 1000000, got "${options.last}"`);
  const matches = filterOf(options);
  const kept: AuditRecord[] = [];
  const end = await follow(path, (record) => {
    if (!matches(record)) return;
    kept.push(record);
    // In batches: taking off one at a time would move the whole array each time.
    if (kept.length >= 2 * limit) kept.splice(0, kept.length - limit);
  });
  const records = kept.slice(-limit);
  if (options.output === "json") printJson(records);
  else
    print(table(["SEQ", "TIME", "ACTION", "RESULT", "APP", "INSTANCE", "RULE", "FIELD", "REASON"], records.map(row)));
  const problem = problemOf(end);
  if (problem === undefined) return 0;
  say(`broken: ${problem}; what follows is not shown`);
  return 3;
}

/** Every record in order; gives how the file ends. @throws CliError `not-found` */
async function follow(
  path: string,
  see: (record: AuditRecord, head: ChainHead) => void,
): Promise<ChainItem | { readonly kind: "whole"; readonly head: ChainHead }> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (cause) {
    throw new CliError(
      (cause as NodeJS.ErrnoException).code === "ENOENT" ? "not-found" : "failed",
      `audit log ${path} cannot be read`,
      { cause },
    );
  }
  try {
    let head: ChainHead = { seq: 0, hash: "0".repeat(64), size: 0 };
    for await (const item of readChain(file)) {
      if (item.kind !== "record") return item;
      head = item.head;
      see(item.record, head);
    }
    return { kind: "whole", head };
  } finally {
    await file.close();
  }
}

const problemOf = (end: {
  readonly kind: string;
  readonly head: ChainHead;
  readonly reason?: string;
}): string | undefined => (end.kind === "broken" ? `line ${end.head.seq + 1}: ${end.reason ?? ""}` : undefined);

function filterOf(options: AuditShowOptions): (record: AuditRecord) => boolean {
  const begins = (value: unknown, prefix: string | undefined): boolean =>
    prefix === undefined || (typeof value === "string" && value.startsWith(prefix.toLowerCase().replace(/^0x/, "")));
  const since = time(options.since, "--since");
  const until = time(options.until, "--until");
  return (record) => {
    const at = Date.parse(record.time);
    return (
      begins(record["appId"], options.app) &&
      begins(record["instanceId"], options.instance) &&
      (options.result === undefined || record["outcome"] === options.result) &&
      (since === undefined || at >= since) &&
      (until === undefined || at <= until)
    );
  };
}

function time(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const at = Date.parse(text);
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(at))
    throw new CliError("usage", `${name}: expected a time such as 2026-11-22T20:00:00Z, got "${text}"`);
  return at;
}

function row(record: AuditRecord): string[] {
  const text = (key: string): string => (typeof record[key] === "string" ? (record[key] as string) : "");
  return [
    String(record.seq),
    record.time,
    text("action"),
    text("outcome"),
    text("appId"),
    text("instanceId"),
    text("rule"),
    text("field"),
    text("reason"),
  ];
}
