import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { followAuditLog, problemOf, type FollowedLog } from "./follow-audit-log.ts";
import type { KmsAuditVerifyOptions } from "./options.ts";

/** `dstack kms audit verify`: exit code 0 where the chain holds, 3 where it does not. */
export async function kmsAuditVerify({ out }: Cli, path: string, options: KmsAuditVerifyOptions): Promise<number> {
  const noted = hashOption(options.head, "--head");
  const after = hashOption(options.after, "--after");
  let found = noted === undefined;
  let first: string | undefined;
  let last: string | undefined;
  const log = await followAuditLog(path, (record, head) => {
    found ||= head.hash === noted;
    first ??= record.time;
    last = record.time;
  });
  found ||= log.begin.hash === noted;
  const problem =
    problemOf(log) ??
    wrongBegin(log, after) ??
    (found
      ? undefined
      : `no line has the hash ${noted}, which was the head once: lines were taken off, or this is another log`);
  const { begin, segments, head, end } = log;
  const lines = head.seq - begin.seq;
  const torn = end?.kind === "torn" ? end.bytes : 0;
  if (options.output === "json") {
    out.json({
      ok: problem === undefined,
      lines,
      segments,
      begins_after: begin.seq,
      hash: head.hash,
      first: first ?? null,
      last: last ?? null,
      torn_bytes: torn,
      broken_line: end?.kind === "broken" ? head.seq + 1 : null,
      broken_file: end?.kind === "broken" ? end.file : null,
      reason: problem ?? null,
    });
  } else if (problem === undefined) {
    const inFiles = segments > 1 ? ` in ${segments} files` : "";
    const from = begin.seq === 0 ? "" : ` behind line ${begin.seq}`;
    const times = first === undefined ? "" : `; ${first} to ${last}`;
    out.print(`${lines} lines${inFiles}, the chain holds${from}${times}\nlast hash ${head.hash}`);
    if (torn > 0) out.say(`${torn} bytes behind the last line: a record that was being written, or was cut by a kill`);
  } else {
    out.print(`broken: ${problem}\n${lines} lines before it hold; their last hash is ${head.hash}`);
  }
  return problem === undefined ? 0 : 3;
}

function wrongBegin({ begin }: FollowedLog, after: string | undefined): string | undefined {
  if (begin.seq === 0)
    return after === undefined ? undefined : "the log begins with line 1, and --after speaks of lines before it";
  if (begin.hash === after) return undefined;
  return after === undefined
    ? `the first line here is line ${begin.seq + 1}: earlier segments are missing. Put them back beside the log, or give the last hash of a check that had them with --after`
    : `the first line here follows on ${begin.hash}, not on --after ${after}`;
}

function hashOption(value: string | undefined, name: string): string | undefined {
  const hash = value?.toLowerCase().replace(/^0x/, "");
  if (hash !== undefined && !/^[0-9a-f]{64}$/.test(hash))
    throw new CliError("usage", `${name}: expected the 64 hex digits of a line's hash`);
  return hash;
}
