import { AttestError } from "@dstack/attest";
import { BytesError } from "@dstack/bytes";
import { DerError } from "@dstack/der";
import { RatlsError } from "@dstack/ratls";

/** What the readers of evidence refuse with: each has a stable `code`. */
export type Refusal = AttestError | BytesError | DerError | RatlsError;

export const isRefusal = (error: unknown): error is Refusal =>
  error instanceof AttestError ||
  error instanceof BytesError ||
  error instanceof DerError ||
  error instanceof RatlsError;

/** The code of the innermost refusal, which says most, and the texts from the outermost on. */
export function refusalOf(error: Refusal): { readonly code: string; readonly reason: string } {
  const found: Refusal[] = [];
  for (let next: unknown = error; isRefusal(next) && found.length < 8; next = next.cause) found.push(next);
  return { code: (found.at(-1) ?? error).code, reason: found.map(({ message }) => message).join(": ") };
}
