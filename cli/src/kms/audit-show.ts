import type { AuditRecord } from "@dstack/audit-log";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { table } from "../terminal/output.ts";
import { followAuditLog, problemOf } from "./follow-audit-log.ts";
import type { KmsAuditShowOptions } from "./options.ts";

/** `dstack kms audit show`: the newest records that match, oldest first. */
export async function kmsAuditShow({ out }: Cli, path: string, options: KmsAuditShowOptions): Promise<number> {
  const limit = Number(options.last);
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > 1_000_000)
    throw new CliError("usage", `--last: expected a number from 1 to 1000000, got "${options.last}"`);
  const matches = filterOf(options);
  const kept: AuditRecord[] = [];
  const log = await followAuditLog(path, (record) => {
    if (!matches(record)) return;
    kept.push(record);
    // In batches: taking off one at a time would move the whole array each time.
    if (kept.length >= 2 * limit) kept.splice(0, kept.length - limit);
  });
  const records = kept.slice(-limit);
  if (options.output === "json") out.json(records);
  else
    out.print(
      table(["SEQ", "TIME", "ACTION", "RESULT", "APP", "INSTANCE", "RULE", "FIELD", "REASON"], records.map(row)),
    );
  const problem = problemOf(log);
  if (problem === undefined) return 0;
  out.say(`broken: ${problem}; what follows is not shown`);
  return 3;
}

function filterOf(options: KmsAuditShowOptions): (record: AuditRecord) => boolean {
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
