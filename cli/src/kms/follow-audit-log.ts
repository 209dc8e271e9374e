import { readLog, type AuditRecord, type ChainHead, type LogItem } from "@dstack/audit-log";
import { systemCode } from "@dstack/errors";
import { CliError } from "../terminal/errors.ts";

export interface FollowedLog {
  /** What came before the first line that is there: nothing (`seq` 0), or segments that were put away. */
  readonly begin: ChainHead;
  readonly segments: number;
  /** Behind the last line that follows. */
  readonly head: ChainHead;
  /** How it ends where not with a whole line. */
  readonly end: Extract<LogItem, { readonly kind: "torn" | "broken" }> | undefined;
}

const NOTHING: ChainHead = { seq: 0, hash: "0".repeat(64), size: 0 };

/** Every record in order, through all segments of the log. @throws CliError `not-found`, `failed` */
export async function followAuditLog(
  path: string,
  see: (record: AuditRecord, head: ChainHead) => void,
): Promise<FollowedLog> {
  let begin = NOTHING;
  let head = NOTHING;
  const files = new Set<string>();
  try {
    for await (const item of readLog(path)) {
      files.add(item.file);
      head = item.head;
      if (item.kind === "begin") begin = item.head;
      else if (item.kind === "record") see(item.record, head);
      else return { begin, segments: files.size, head, end: item };
    }
    return { begin, segments: files.size, head, end: undefined };
  } catch (cause) {
    if (systemCode(cause) === undefined) throw cause;
    throw new CliError(systemCode(cause) === "ENOENT" ? "not-found" : "failed", `audit log ${path} cannot be read`, {
      cause,
    });
  }
}

/** Where and why the chain breaks; undefined where it holds. */
export const problemOf = ({ end }: FollowedLog): string | undefined =>
  end?.kind === "broken" ? `${end.file}, line ${end.head.seq + 1}: ${end.reason}` : undefined;
