import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { followAuditLog, problemOf } from "./follow-audit-log.ts";
import type { KmsAuditVerifyOptions } from "./options.ts";

/** `dstack kms audit verify`: exit code 0 where the chain holds, 3 where it does not. */
export async function kmsAuditVerify({ out }: Cli, path: string, options: KmsAuditVerifyOptions): Promise<number> {
  const contains = options.contains?.toLowerCase();
  if (contains !== undefined && !/^[0-9a-f]{64}$/.test(contains))
    throw new CliError("usage", "--contains: expected the 64 hex digits of a line's hash");
  let found = contains === undefined;
  let first: string | undefined;
  let last: string | undefined;
  const end = await followAuditLog(path, (record, head) => {
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
    out.json({
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
    out.print(`${seq} lines, the chain holds${first === undefined ? "" : `; ${first} to ${last}`}\nlast hash ${hash}`);
    if (torn > 0) out.say(`${torn} bytes behind the last line: a record that was being written, or was cut by a kill`);
  } else {
    out.print(`broken: ${problem}\n${seq} lines before it hold; their last hash is ${hash}`);
  }
  return problem === undefined ? 0 : 3;
}
