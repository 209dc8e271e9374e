import { ByteCursor, type Refuse } from "@dstack/bytes";
import { AttestError } from "./errors.ts";
import type { AttestErrorCode } from "./errors.ts";

/** What a reader of this package refuses with. */
export const refusedAs =
  (code: AttestErrorCode): Refuse =>
  (text, cause) =>
    new AttestError(code, text, cause === undefined ? undefined : { cause });

/** A cursor whose refusals carry this package's code. */
export class Cursor extends ByteCursor {
  constructor(bytes: Uint8Array, what: string, code: AttestErrorCode, offset = 0) {
    super(bytes, what, refusedAs(code), offset);
  }
}
