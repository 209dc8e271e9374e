import { plainText } from "./plain-text.ts";

const MAX_DEPTH = 16;

/**
 * The text of an error and of its causes, outermost first, joined by `: ` as all dstack clients
 * expect. A cause that an outer text says already is not said again.
 */
export function errorChain(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && depth < MAX_DEPTH; depth++) {
    const part = current instanceof Error ? plainText(current.message) || current.name : String(current);
    if (!parts.some((outer) => says(outer, part))) parts.push(part);
    if (!(current instanceof Error)) break;
    current = current.cause;
  }
  return parts.join(": ");
}

/** Whole, not as a part of a word: "5" is not said by "15 bytes". */
function says(outer: string, inner: string): boolean {
  const at = outer.indexOf(inner);
  if (at === -1) return false;
  return !/\w/.test(outer[at - 1] ?? "") && !/\w/.test(outer[at + inner.length] ?? "");
}
