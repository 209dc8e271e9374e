/**
 * The text that QEMU and guests leave. In: the path of a log. Out: its last lines and what comes
 * after them, in pieces of bounded size; a log over its limit cut in place (log-rotation.ts).
 * Never: a guest's bytes taken for anything but text, or a whole log in memory.
 */
import { open, stat } from "node:fs/promises";
import { StringDecoder } from "node:string_decoder";
import { setTimeout as sleep } from "node:timers/promises";

export interface ReadLogOptions {
  /** Start so many lines before the end. */
  readonly lines: number;
  readonly follow: boolean;
  /** Ends a follow. */
  readonly signal: AbortSignal;
  readonly pollMs?: number;
  /** After so long without output a follower gets a line that says so. */
  readonly heartbeatMs?: number;
}

export const HEARTBEAT = "[vmm heartbeat]\n";

const CHUNK_BYTES = 64 * 1024;
/** A tail of more lines than fit in here starts later. */
const MAX_TAIL_BYTES = 16 * 1024 * 1024;

/**
 * A log's text: its last lines, then, following, what is appended. A file that shrinks was rotated
 * and is read again from its start; one that is missing is waited for. Bytes that are no UTF-8 are
 * replaced.
 */
export async function* readLog(path: string, options: ReadLogOptions): AsyncGenerator<string> {
  const decoder = new StringDecoder("utf8");
  let offset = await tailOffset(path, options.lines);
  let quietMs = 0;
  const pollMs = options.pollMs ?? 250;
  const heartbeatMs = options.heartbeatMs ?? 60_000;
  for (;;) {
    const size = (await stat(path).catch(() => undefined))?.size ?? 0;
    if (size < offset) offset = 0;
    if (size > offset) {
      const bytes = await readRange(path, offset, Math.min(CHUNK_BYTES, size - offset));
      offset += bytes.length;
      const text = decoder.write(bytes);
      quietMs = 0;
      if (text !== "") yield text;
      if (bytes.length > 0) continue;
    }
    if (!options.follow || options.signal.aborted) return;
    await sleep(pollMs, undefined, { signal: options.signal }).catch(() => undefined);
    if (options.signal.aborted) return;
    quietMs += pollMs;
    if (quietMs >= heartbeatMs) {
      quietMs = 0;
      yield HEARTBEAT;
    }
  }
}

/** The last bytes of a file as text. */
export async function readTail(path: string, maxBytes: number): Promise<string> {
  const { size } = await stat(path);
  const start = Math.max(0, size - maxBytes);
  return (await readRange(path, start, size - start)).toString("utf8");
}

/** Escape sequences of terminals: CSI, OSC, other strings, and the two-character ones. */
const ANSI = /\x1b(?:\[[0-9;:?<=>!]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-Z\\^-~])/g;
/** A sequence that goes on for longer is none; what is held back stays small. */
const MAX_HELD_CHARS = 256;

/** Takes escape sequences out of a stream; one that is cut between two pieces is held back until it is whole. */
export function ansiStripper(): { next(text: string): string; end(): string } {
  let held = "";
  return {
    next: (text) => {
      const clean = (held + text).replace(ANSI, "");
      const start = clean.lastIndexOf("\x1b");
      const cut = start !== -1 && clean.length - start < MAX_HELD_CHARS ? start : clean.length;
      held = clean.slice(cut);
      return clean.slice(0, cut);
    },
    end: () => held,
  };
}

async function tailOffset(path: string, lines: number): Promise<number> {
  const size = (await stat(path).catch(() => undefined))?.size ?? 0;
  const lowest = Math.max(0, size - MAX_TAIL_BYTES);
  let end = size;
  let seen = 0;
  while (end > lowest) {
    const start = Math.max(lowest, end - CHUNK_BYTES);
    const chunk = await readRange(path, start, end - start);
    for (let at = chunk.length - 1; at >= 0; at--) {
      // The newline that ends the last line does not start another.
      if (chunk[at] !== 0x0a || start + at === size - 1) continue;
      seen++;
      if (seen === lines) return start + at + 1;
    }
    end = start;
  }
  return lines === 0 ? size : lowest;
}

async function readRange(path: string, start: number, length: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await file.read(buffer, 0, length, start);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
