/**
 * The record of decisions: one JSON object a line, each with the SHA-256 of the line before it
 * (`prev`, 64 zeros at the start). Lines are flushed to the disk before `append` returns.
 */
import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import type { Logger } from "@dstack/log";
import { KmsError } from "../errors.ts";

export interface AuditLogOptions {
  readonly path: string;
  readonly clock: { now(): number };
  readonly log: Logger;
}

const GENESIS = "0".repeat(64);
const MAX_LINE_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

export class AuditLog {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #clock: { now(): number };
  #size: number;
  #seq: number;
  #prev: string;
  #queue: Promise<unknown> = Promise.resolve();
  #failure: string | undefined;

  private constructor(file: FileHandle, options: AuditLogOptions, state: ChainState) {
    this.#file = file;
    this.#path = options.path;
    this.#clock = options.clock;
    this.#size = state.size;
    this.#seq = state.seq;
    this.#prev = state.prev;
  }

  /**
   * Opens the log and checks its whole chain. A last line without its end was cut by a crash
   * before anything was released for it, and is taken off.
   * @throws KmsError `audit-broken` where the chain does not hold, `audit-unwritable`
   */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    let file: FileHandle;
    try {
      file = await open(options.path, "a+", 0o600);
    } catch (cause) {
      throw unwritable(options.path, cause);
    }
    try {
      const state = await checkChain(options.path);
      const { size } = await file.stat();
      if (size > state.size) {
        options.log.warn({ path: options.path, bytes: size - state.size }, "audit log ended inside a line; the rest is taken off");
        await file.truncate(state.size);
      }
      return new AuditLog(file, options, state);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Why the last append failed; undefined while the log works. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * Writes one entry and flushes it. What it permits must not happen before this returns.
   * @throws KmsError `audit-unwritable`
   */
  append(entry: Readonly<Record<string, unknown>>): Promise<void> {
    const done = this.#queue.then(() => this.#write(entry));
    this.#queue = done.catch(() => undefined);
    return done;
  }

  async close(): Promise<void> {
    await this.#queue;
    await this.#file.close();
  }

  async #write(entry: Readonly<Record<string, unknown>>): Promise<void> {
    const line = JSON.stringify({ seq: this.#seq + 1, time: new Date(this.#clock.now()).toISOString(), prev: this.#prev, ...entry });
    const bytes = Buffer.from(`${line}\n`);
    try {
      if (bytes.length > MAX_LINE_BYTES) throw new Error(`entry of ${bytes.length} bytes, limit ${MAX_LINE_BYTES}`);
      // What an earlier failed write may have left.
      if ((await this.#file.stat()).size !== this.#size) await this.#file.truncate(this.#size);
      const { bytesWritten } = await this.#file.write(bytes);
      if (bytesWritten !== bytes.length) throw new Error(`wrote ${bytesWritten} of ${bytes.length} bytes`);
      await this.#file.datasync();
    } catch (cause) {
      this.#failure = cause instanceof Error ? cause.message : String(cause);
      throw unwritable(this.#path, cause);
    }
    this.#failure = undefined;
    this.#size += bytes.length;
    this.#seq += 1;
    this.#prev = hashOf(line);
  }
}

interface ChainState {
  readonly size: number;
  readonly seq: number;
  readonly prev: string;
}

async function checkChain(path: string): Promise<ChainState> {
  const file = await open(path, "r");
  let state: ChainState = { size: 0, seq: 0, prev: GENESIS };
  try {
    if (!(await file.stat()).isFile()) throw new KmsError("audit-broken", `audit log ${path} is not a regular file`);
    let rest = Buffer.alloc(0);
    for await (const chunk of file.createReadStream({ autoClose: false })) {
      rest = Buffer.concat([rest, chunk as Buffer]);
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        state = follow(path, state, rest.subarray(0, end));
        rest = rest.subarray(end + 1);
      }
      if (rest.length > MAX_LINE_BYTES) throw brokenAt(path, state);
    }
  } finally {
    await file.close();
  }
  return state;
}

/** The state after one more line. @throws KmsError `audit-broken` where it does not belong there */
function follow(path: string, state: ChainState, line: Uint8Array): ChainState {
  let entry: { readonly seq?: unknown; readonly prev?: unknown };
  try {
    entry = JSON.parse(Buffer.from(line).toString("utf8")) as typeof entry;
  } catch (cause) {
    throw brokenAt(path, state, cause);
  }
  if (entry.seq !== state.seq + 1 || entry.prev !== state.prev) throw brokenAt(path, state);
  return { size: state.size + line.length + 1, seq: state.seq + 1, prev: hashOf(line) };
}

const brokenAt = (path: string, state: ChainState, cause?: unknown): KmsError =>
  new KmsError("audit-broken", `audit log ${path}, line ${state.seq + 1}: does not follow the line before it. Keep the file as evidence, move it away and start again`, { cause });
const hashOf = (line: string | Uint8Array): string => createHash("sha256").update(line).digest("hex");
const unwritable = (path: string, cause: unknown): KmsError =>
  new KmsError("audit-unwritable", `audit log ${path} cannot be written, so nothing is released; make room or repair the file`, { cause });
