import { lstat, open, rename, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { ignoreMissing } from "@dstack/errors";
import { removeIfExists, syncFolder } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { EMPTY_CHAIN, following, lineFor, type ChainHead } from "./chain.ts";
import { AuditLogError } from "./errors.ts";
import {
  closedPath,
  closedSegments,
  endOfSegment,
  firstRecord,
  headBefore,
  nextPath,
  SEGMENT_ACTION,
} from "./segments.ts";

/**
 * Gives the file its name of a closed segment, and puts a new one in its place. That is whole on the disk, its first
 * line in it, before a name changes; a kill between the two renames is made good by `settleChange`.
 * @returns the new file, and the chain's end in it; the folder is not flushed yet
 * @throws the system's error, with the old file under its old name
 */
export async function changeSegment(from: {
  readonly path: string;
  readonly firstSeq: number;
  readonly head: ChainHead;
  readonly time: Date;
}): Promise<{ readonly file: FileHandle; readonly head: ChainHead }> {
  const { path, head } = from;
  const closed = closedPath(path, from.firstSeq);
  if (await exists(closed)) throw new Error(`${closed} is there already; keep it as evidence, and move it away`);
  const line = lineFor({ action: SEGMENT_ACTION, outcome: "begun", previous: basename(closed) }, from.time, head);
  const next = nextPath(path);
  await removeIfExists(next);
  const file = await open(next, "ax+", 0o600);
  try {
    await writeAll(file, Buffer.from(`${line.toString()}\n`));
    await file.datasync();
    await rename(path, closed);
    try {
      // One after the other also on the disk: the old file never loses its name to the new one.
      await syncFolder(dirname(path));
      await rename(next, path);
    } catch (cause) {
      await rename(closed, path);
      throw cause;
    }
  } catch (cause) {
    await file.close();
    throw cause;
  }
  return { file, head: following({ ...head, size: 0 }, line) };
}

/**
 * Finishes a change that a kill interrupted after the old file's rename, and removes what it left before that.
 * @throws AuditLogError `audit-broken` where the last file was taken away
 */
export async function settleChange(path: string, log: Logger): Promise<void> {
  const next = nextPath(path);
  if (await exists(path)) return removeIfExists(next);
  if ((await closedSegments(path)).length === 0) return;
  if (!(await exists(next)))
    throw new AuditLogError(
      "audit-broken",
      `audit log ${path}, the last segment, is missing, and earlier ones are there. Put it back; else keep them as evidence, move them all away and start again`,
    );
  await rename(next, path);
  log.warn({ path }, "finished a change of audit log files that was interrupted");
}

/** What the file's first line has to follow on. @throws AuditLogError `audit-broken` for the file before it */
export async function headBeforeFile(file: FileHandle, path: string, log: Logger): Promise<ChainHead> {
  const last = (await closedSegments(path)).at(-1);
  if (last !== undefined) return endOfSegment(last);
  const first = await firstRecord(file);
  if (first?.["action"] !== SEGMENT_ACTION) return EMPTY_CHAIN;
  log.warn(
    { path, previous: first["previous"] },
    "audit log: the segments before this one are not here; `dstack kms audit verify` needs them, or their last hash",
  );
  return headBefore(first);
}

export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  const { bytesWritten } = await file.write(bytes);
  if (bytesWritten !== bytes.length) throw new Error(`wrote ${bytesWritten} of ${bytes.length} bytes`);
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    ignoreMissing(error);
    return false;
  }
}
