/**
 * One JSON object a line, UTF-8, ended by LF:
 *
 *     {"v":1,"kind":"request","id":N,"path":"/api/Notify","json":<value>}
 *     {"v":1,"kind":"response","id":N,"status":200,"json":<value>}
 *
 * A line that is no such frame is dropped: after a peer was restarted the first line may be
 * the tail of one that its predecessor began.
 */
import { parseJson, utf8 } from "@dstack/bytes";

export interface RequestFrame {
  readonly kind: "request";
  readonly id: number;
  readonly path: string;
  readonly json: unknown;
}

export interface ResponseFrame {
  readonly kind: "response";
  readonly id: number;
  readonly status: number;
  readonly json: unknown;
}

export type Frame = RequestFrame | ResponseFrame;

/** Longest line, its LF excluded. */
export const MAX_FRAME_BYTES = 1024 * 1024;
const MAX_PATH_LENGTH = 256;

/** The frame of one line without its LF; undefined when it is none. */
export function parseFrame(line: Uint8Array): Frame | undefined {
  let value: unknown;
  try {
    value = parseJson(new TextDecoder("utf-8", { fatal: true }).decode(line));
  } catch {
    return undefined; // Not JSON is an expected outcome here, see above.
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { v, kind, id, path, status, json = null } = value as Record<string, unknown>;
  if (v !== 1 || typeof id !== "number" || !Number.isSafeInteger(id) || id < 0) return undefined;
  if (kind === "request" && typeof path === "string" && path.length <= MAX_PATH_LENGTH) return { kind, id, path, json };
  if (kind === "response" && typeof status === "number" && Number.isInteger(status) && status >= 100 && status <= 599)
    return { kind, id, status, json };
  return undefined;
}

/** The line of a frame, LF included. */
export const encodeFrame = (frame: Frame): Uint8Array => utf8(`${JSON.stringify({ v: 1, ...frame })}\n`);
