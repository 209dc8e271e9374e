import { open, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "@dstack/files";
import type { Logger } from "@dstack/log";
import {
  following,
  lineFor,
  MAX_BATCH_BYTES,
  MAX_LINE_BYTES,
  readChain,
  type AuditEntry,
  type ChainHead,
  type ChainItem,
} from "./chain.ts";
import { AuditLogError } from "./errors.ts";
import { changeSegment, headBeforeFile, settleChange, writeAll } from "./change-segment.ts";

export interface AuditLogOptions {
  readonly path: string;
  /** Bytes after which a new file is begun; 16 MiB unless given. */
  readonly segmentBytes?: number;
  readonly clock: { now(): number };
  readonly log: Logger;
}

interface Waiting {
  readonly entry: AuditEntry;
  readonly time: Date;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** Entries that wait for the disk; more are refused rather than kept. */
const MAX_WAITING = 10_000;
/** What a start reads: a tenth of a second, some 20,000 releases. */
const SEGMENT_BYTES = 16 * 1024 * 1024;

/**
 * Appends entries, many at a time where they come together: those that arrive during a flush share
 * the next one, so the disk bounds the delay and not the number. A file that is full is closed, and the next one
 * carries on its chain (segments.ts). One process writes one log.
 */
export class AuditLog {
  #file: FileHandle;
  readonly #path: string;
  readonly #segmentBytes: number;
  readonly #clock: { now(): number };
  #head: ChainHead;
  /** Number of the file's first line. */
  #firstSeq: number;
  /** Names in the folder that are not on the disk yet. */
  #namesToSync = true;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #failure: string | undefined;
  /** A write of ours failed, so there may be bytes behind the head. */
  #dirty = false;

  private constructor(file: FileHandle, options: AuditLogOptions, before: ChainHead, head: ChainHead) {
    this.#file = file;
    this.#path = options.path;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
    this.#clock = options.clock;
    this.#head = head;
    this.#firstSeq = before.seq + 1;
  }

  /**
   * Opens the log, or begins it, and checks the chain of its last file, and that this follows on the file before it;
   * `readLog` reads them all. A last line without its end was cut by a crash before anything was done for it: it is
   * taken off, and a record says so.
   * @throws AuditLogError `audit-broken`, `audit-unwritable`
   */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    const { path, log } = options;
    let file: FileHandle;
    try {
      await settleChange(path, log);
      file = await open(path, "a+", 0o600);
    } catch (cause) {
      throw cause instanceof AuditLogError ? cause : unwritable(path, cause);
    }
    try {
      if (!(await file.stat()).isFile())
        throw new AuditLogError("audit-broken", `audit log ${path} is not a regular file`);
      const before = await headBeforeFile(file, path, log);
      const end = await lastItem(file, before);
      if (end?.kind === "broken") {
        throw new AuditLogError(
          "audit-broken",
          `audit log ${path}, line ${end.head.seq + 1}: ${end.reason}. Keep the file as evidence, move it away and start again`,
        );
      }
      if (before.seq > 0 && (end?.head ?? before).size === 0)
        throw new AuditLogError(
          "audit-broken",
          `audit log ${path} has no line, though line ${before.seq} came before it: its lines were taken off. Keep the files as evidence, move them all away and start again`,
        );
      const audit = new AuditLog(file, options, before, end?.head ?? before);
      if (end?.kind === "torn") {
        log.warn(
          { path, bytes: end.bytes, sha256: end.sha256 },
          "audit log ended inside a line; the rest is taken off",
        );
        audit.#dirty = true;
        await audit.append({
          action: "audit-repair",
          outcome: "repaired",
          removedBytes: end.bytes,
          removedSha256: end.sha256,
        });
      }
      await audit.#syncNames().catch((cause: unknown) => {
        throw unwritable(path, cause);
      });
      log.info({ path, seq: audit.#head.seq, hash: audit.#head.hash }, "audit log opened");
      return audit;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Why the last append failed; undefined while the log works. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** The end of the chain on the disk. */
  get head(): ChainHead {
    return this.#head;
  }

  /**
   * Writes one entry and flushes it. What it permits must not happen before this returns.
   * @throws AuditLogError `audit-unwritable`; the entry is then not in the log
   */
  append(entry: AuditEntry): Promise<void> {
    if (this.#waiting.length >= MAX_WAITING)
      return Promise.reject(unwritable(this.#path, new Error(`${MAX_WAITING} entries wait for the disk already`)));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ entry, time: new Date(this.#clock.now()), done: resolve, failed: reject });
    this.#writing ??= this.#drain();
    return promise;
  }

  /** After a failure, tries whether the log works again, and records that it had failed. Gives `failure`. */
  async probe(): Promise<string | undefined> {
    if (this.#failure !== undefined)
      await this.append({ action: "audit-resume", outcome: "resumed", reason: this.#failure }).catch(() => undefined);
    return this.#failure;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  async #drain(): Promise<void> {
    // Whoever asks in the same turn of the event loop is taken along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      try {
        if (this.#head.size >= this.#segmentBytes) await this.#beginSegment();
      } catch (cause) {
        this.#fail(this.#waiting.splice(0), cause);
        continue;
      }
      const { batch, bytes, head } = this.#nextBatch();
      try {
        if (batch.length > 0) await this.#write(bytes, head);
        for (const { done } of batch) done();
      } catch (cause) {
        this.#fail(batch, cause);
      }
    }
    this.#writing = undefined;
  }

  #fail(batch: readonly Waiting[], cause: unknown): void {
    this.#failure = cause instanceof Error ? cause.message : String(cause);
    for (const { failed } of batch) failed(unwritable(this.#path, cause));
  }

  /** Closes the file, and goes on in the next. */
  async #beginSegment(): Promise<void> {
    await this.#requireOwnFile();
    // What was taken off must not come back behind the last line of a file that is written no more.
    if (this.#dirty) await this.#file.sync();
    this.#dirty = false;
    const { file, head } = await changeSegment({
      path: this.#path,
      firstSeq: this.#firstSeq,
      head: this.#head,
      time: new Date(this.#clock.now()),
    });
    const closed = this.#file;
    this.#file = file;
    this.#firstSeq = head.seq;
    this.#head = head;
    this.#namesToSync = true;
    await closed.close();
  }

  /** Lines for what waits, as many as go into one write. An entry that fits no line is refused alone. */
  #nextBatch(): { readonly batch: readonly Waiting[]; readonly bytes: Buffer; readonly head: ChainHead } {
    const batch: Waiting[] = [];
    const parts: Buffer[] = [];
    let head = this.#head;
    let taken = 0;
    for (const waiting of this.#waiting) {
      let line: Buffer;
      try {
        line = lineFor(waiting.entry, waiting.time, head);
        if (line.length > MAX_LINE_BYTES) throw new Error(`entry of ${line.length} bytes, limit ${MAX_LINE_BYTES}`);
      } catch (cause) {
        waiting.failed(unwritable(this.#path, cause));
        taken++;
        continue;
      }
      const next = following(head, line);
      if (next.size - this.#head.size > MAX_BATCH_BYTES) break;
      batch.push(waiting);
      parts.push(line, NEWLINE);
      head = next;
      taken++;
    }
    this.#waiting.splice(0, taken);
    return { batch, bytes: Buffer.concat(parts), head };
  }

  async #write(bytes: Buffer, head: ChainHead): Promise<void> {
    await this.#requireOwnFile();
    await this.#syncNames();
    this.#dirty = true;
    await writeAll(this.#file, bytes);
    await this.#file.datasync();
    this.#dirty = false;
    this.#failure = undefined;
    this.#head = head;
  }

  /** A new file must still be in its folder after a crash. */
  async #syncNames(): Promise<void> {
    if (!this.#namesToSync) return;
    await syncFolder(dirname(this.#path));
    this.#namesToSync = false;
  }

  /** The file must be the one that was checked, and as long as the chain. */
  async #requireOwnFile(): Promise<void> {
    const [own, named] = await Promise.all([this.#file.stat(), stat(this.#path)]);
    if (named.ino !== own.ino || named.dev !== own.dev)
      throw new Error("the file was replaced by another; put it back, or start again with the new one");
    if (own.size === this.#head.size) return;
    if (own.size < this.#head.size)
      throw new Error(
        `the file was cut from ${this.#head.size} to ${own.size} bytes; keep it as evidence, move it away and start again`,
      );
    if (!this.#dirty)
      throw new Error(
        `somebody else wrote ${own.size - this.#head.size} bytes to the file; keep it as evidence, move it away and start again`,
      );
    await this.#file.truncate(this.#head.size);
  }
}

const NEWLINE = Buffer.from("\n");

async function lastItem(file: FileHandle, before: ChainHead): Promise<ChainItem | undefined> {
  let last: ChainItem | undefined;
  for await (const item of readChain(file, before)) last = item;
  return last;
}

const unwritable = (path: string, cause: unknown): AuditLogError =>
  new AuditLogError(
    "audit-unwritable",
    `audit log ${path} cannot be written, so nothing is released; make room or repair the file`,
    { cause },
  );
