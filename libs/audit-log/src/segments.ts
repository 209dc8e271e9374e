/**
 * The files of a log. `PATH` is the one that is written. When it is full it becomes `PATH.N`, N being the number
 * (`seq`, 12 digits) of its first line, and a new `PATH` begins, whose first line (`action` is `audit-segment`) follows
 * on the last line of `PATH.N`. `PATH.next` is such a beginning before it is in place.
 */
import { open, readdir, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ignoreMissing } from "@dstack/errors";
import {
  EMPTY_CHAIN,
  following,
  MAX_LINE_BYTES,
  NEWLINE,
  readChain,
  recordIn,
  type AuditRecord,
  type ChainHead,
  type ChainItem,
} from "./chain.ts";
import { AuditLogError } from "./errors.ts";

/** What the first line of each segment but the first says. */
export const SEGMENT_ACTION = "audit-segment";

/** A segment that is full and written no more. */
export interface ClosedSegment {
  readonly path: string;
  /** Number of its first line, by its name. */
  readonly firstSeq: number;
}

export type LogItem =
  /** Where the first file begins: `head.seq` lines came before it, 0 where the log is there from its first line on. */
  { readonly kind: "begin"; readonly head: ChainHead; readonly file: string } | (ChainItem & { readonly file: string });

const SEQ_DIGITS = 12;

export const closedPath = (path: string, firstSeq: number): string =>
  `${path}.${String(firstSeq).padStart(SEQ_DIGITS, "0")}`;
export const nextPath = (path: string): string => `${path}.next`;

/** In the order of their lines. */
export async function closedSegments(path: string): Promise<ClosedSegment[]> {
  const prefix = `${basename(path)}.`;
  const names = await readdir(dirname(path)).catch((error: NodeJS.ErrnoException) => {
    ignoreMissing(error);
    return [];
  });
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{12}$/.test(name.slice(prefix.length)))
    .toSorted()
    .map((name) => ({ path: join(dirname(path), name), firstSeq: Number(name.slice(prefix.length)) }));
}

/** The head behind the last line of a closed segment, found from its end, for the file after it. @throws AuditLogError `audit-broken` */
export async function endOfSegment({ path }: ClosedSegment): Promise<ChainHead> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const tail = Buffer.alloc(Math.min(size, MAX_LINE_BYTES + 2));
    const { bytesRead } = await file.read(tail, 0, tail.length, size - tail.length);
    const line = tail.subarray(tail.lastIndexOf(NEWLINE, -2) + 1, -1);
    const record = bytesRead === tail.length && tail.at(-1) === NEWLINE ? recordIn(line) : "ends inside a line";
    if (typeof record === "string")
      throw new AuditLogError("audit-broken", `audit log segment ${path}: its last line ${record}`);
    return { ...following({ ...EMPTY_CHAIN, seq: record.seq - 1 }, line), size: 0 };
  } finally {
    await file.close();
  }
}

/** The first line of a file; undefined where it has none that can be read. */
export async function firstRecord(file: FileHandle): Promise<AuditRecord | undefined> {
  const bytes = Buffer.alloc(MAX_LINE_BYTES + 1);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
  const end = bytes.subarray(0, bytesRead).indexOf(NEWLINE);
  const record = end < 0 ? undefined : recordIn(bytes.subarray(0, end));
  return typeof record === "string" ? undefined : record;
}

/**
 * Every record of a log in order, through all of its files that are there. What comes before the first of them may
 * have been put away: `begin` says so. Ends with `torn` or `broken` where there is such a thing.
 * @throws the system's error, ENOENT where nothing is there
 */
export async function* readLog(path: string): AsyncGenerator<LogItem> {
  // Before the folder is listed: what is closed in the meantime is then found twice, and never missed.
  const last = await openLast(path);
  try {
    const closed = await closedBefore(path, last);
    if (last === undefined && closed.length === 0) await (await open(path, "r")).close();
    let head: ChainHead | undefined;
    for (const segment of closed) {
      const file = await open(segment.path, "r");
      try {
        head = yield* lines(file, segment, head);
      } finally {
        await file.close();
      }
      if (head === undefined) return;
    }
    if (last !== undefined) yield* lines(last, { path }, head);
    // A kill in the middle of a change of files leaves the new one under its first name.
    else if (head !== undefined) yield* linesOfNext(path, head);
  } finally {
    await last?.close();
  }
}

/** The lines of one file behind `before`; gives where they end, undefined where the log ends with them. */
async function* lines(
  file: FileHandle,
  { path, firstSeq }: { readonly path: string; readonly firstSeq?: number },
  before: ChainHead | undefined,
): AsyncGenerator<LogItem, ChainHead | undefined> {
  const first = await firstRecord(file);
  const start = before ?? headBefore(first);
  if (before === undefined) yield { kind: "begin", head: start, file: path };
  let head: ChainHead = { ...start, size: 0 };
  const misplaced = first === undefined ? undefined : misplacement(first.seq, firstSeq, head);
  if (misplaced !== undefined) return yield* broken(head, misplaced, path);
  for await (const item of readChain(file, start)) {
    head = item.head;
    if (item.kind === "torn" && (firstSeq !== undefined || (head.size === 0 && before !== undefined))) break;
    yield { ...item, file: path };
    if (item.kind !== "record") return undefined;
  }
  const { size } = await file.stat();
  if (firstSeq !== undefined && size > head.size) return yield* broken(head, "the segment ends inside a line", path);
  // Each but the first was put in place with a line in it.
  if (head.size === 0 && (before !== undefined || firstSeq !== undefined))
    return yield* broken(head, "the segment is empty: its lines were taken off", path);
  return head;
}

async function* linesOfNext(path: string, before: ChainHead): AsyncGenerator<LogItem> {
  const next = await openIfExists(nextPath(path));
  if (next === undefined) return yield* broken(before, `${path}, the last segment, is missing`, path);
  try {
    yield* lines(next, { path: nextPath(path) }, before);
  } finally {
    await next.close();
  }
}

function misplacement(seq: number, firstSeq: number | undefined, before: ChainHead): string | undefined {
  if (firstSeq !== undefined && seq !== firstSeq)
    return `the segment is named after line ${firstSeq} and begins with line ${seq}: segments were renamed or swapped`;
  if (seq > before.seq + 1)
    return `lines ${before.seq + 1} to ${seq - 1} are missing: a segment before this one was taken away`;
  return undefined;
}

async function* broken(head: ChainHead, reason: string, file: string): AsyncGenerator<LogItem, undefined> {
  yield { kind: "broken", head, reason, file };
  return undefined;
}

/** What a file's first line says of what comes before it; whoever needs that to hold compares the hash. */
export const headBefore = (first: AuditRecord | undefined): ChainHead =>
  first === undefined || first.seq <= 1 ? EMPTY_CHAIN : { seq: first.seq - 1, hash: first.prev, size: 0 };

/** For a moment while files change there is none; only one that stays away is missing. */
async function openLast(path: string): Promise<FileHandle | undefined> {
  for (let attempt = 0; attempt < 10; attempt++) {
    const file = await openIfExists(path);
    if (file !== undefined || (await closedSegments(path)).length === 0) return file;
    await setTimeout(20);
  }
  return undefined;
}

/** Without those that `last` itself, and its followers, became since it was opened. */
async function closedBefore(path: string, last: FileHandle | undefined): Promise<ClosedSegment[]> {
  const closed = await closedSegments(path);
  const own = await last?.stat();
  const first = last === undefined ? undefined : await firstRecord(last);
  if (own === undefined || first === undefined) return closed;
  for (const [index, segment] of closed.entries()) {
    if (segment.firstSeq < first.seq) continue;
    const { ino, dev } = await stat(segment.path);
    if (ino === own.ino && dev === own.dev) return closed.slice(0, index);
  }
  return closed;
}

async function openIfExists(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    ignoreMissing(error);
    return undefined;
  }
}
