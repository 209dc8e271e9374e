/**
 * A file of the log: one JSON object a line, ended by a newline. `seq` counts from 1, `prev` is the SHA-256
 * of the bytes of the line before it without the newline (64 zeros in the first line), `time` is
 * ISO 8601 in UTC. The other members are the entry. segments.ts says how files follow each other.
 */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

/** What an entry says; `seq`, `time` and `prev` are the log's own. */
export type AuditEntry = Readonly<Record<string, unknown>>;

export interface AuditRecord extends AuditEntry {
  readonly seq: number;
  readonly time: string;
  readonly prev: string;
}

/** Where a chain ends: everything before is fixed by `hash`. */
export interface ChainHead {
  /** Lines, in all files of the log. */
  readonly seq: number;
  /** SHA-256 of the last line, hex; 64 zeros for an empty chain. */
  readonly hash: string;
  /** Bytes of whole lines in the file that the last one is in. */
  readonly size: number;
}

export type ChainItem =
  | { readonly kind: "record"; readonly record: AuditRecord; readonly head: ChainHead }
  /** Bytes without a newline behind the last line, as a kill or a full disk leaves them. */
  | { readonly kind: "torn"; readonly head: ChainHead; readonly bytes: number; readonly sha256: string }
  /** Line `head.seq + 1` does not follow. */
  | { readonly kind: "broken"; readonly head: ChainHead; readonly reason: string };

export const EMPTY_CHAIN: ChainHead = { seq: 0, hash: "0".repeat(64), size: 0 };
/** Most bytes of a line, and of what is written at once: nothing longer can be torn off. */
export const MAX_LINE_BYTES = 64 * 1024;
export const MAX_BATCH_BYTES = 1024 * 1024;

export const NEWLINE = 0x0a;

/**
 * Follows the chain through one file, whose first line follows on `before`. Ends with `torn` or `broken` where there
 * is such a thing, else with the last record.
 */
export async function* readChain(file: FileHandle, before: ChainHead = EMPTY_CHAIN): AsyncGenerator<ChainItem> {
  let head: ChainHead = { ...before, size: 0 };
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of file.createReadStream({ autoClose: false, start: 0 })) {
    rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      const line = rest.subarray(0, end);
      rest = rest.subarray(end + 1);
      const record = recordIn(line);
      const reason = typeof record === "string" ? record : breach(record, head);
      if (reason !== undefined || typeof record === "string")
        return yield { kind: "broken", head, reason: reason ?? "" };
      head = following(head, line);
      yield { kind: "record", record, head };
    }
    if (rest.length > MAX_BATCH_BYTES)
      return yield { kind: "broken", head, reason: `more than ${MAX_BATCH_BYTES} bytes without an end of line` };
  }
  if (rest.length > 0) yield { kind: "torn", head, bytes: rest.length, sha256: sha256(rest) };
}

/** The line for an entry behind this head, without its newline. */
export function lineFor(entry: AuditEntry, time: Date, head: ChainHead): Buffer {
  const own = { seq: head.seq + 1, time: time.toISOString(), prev: head.hash };
  // First for readers, last so that no entry can say otherwise.
  return Buffer.from(JSON.stringify({ ...own, ...entry, ...own }));
}

export const following = (head: ChainHead, line: Uint8Array): ChainHead => ({
  seq: head.seq + 1,
  hash: sha256(line),
  size: head.size + line.length + 1,
});

/** The record in a line without its newline, or why there is none. */
export function recordIn(line: Uint8Array): AuditRecord | string {
  if (line.length > MAX_LINE_BYTES) return `line of ${line.length} bytes, at most ${MAX_LINE_BYTES} are written`;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
  } catch {
    return "is no JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "is no JSON object";
  const { seq, time, prev } = value as Record<string, unknown>;
  if (typeof seq !== "number" || typeof time !== "string" || typeof prev !== "string") return "lacks seq, time or prev";
  return value as AuditRecord;
}

function breach({ seq, prev }: AuditRecord, head: ChainHead): string | undefined {
  if (seq !== head.seq + 1) return `expected seq ${head.seq + 1}, got ${seq}: lines were removed, added or swapped`;
  if (prev !== head.hash)
    return `expected prev ${head.hash}, got ${prev.slice(0, 64)}: the line before it, or this one, was changed`;
  return undefined;
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
