const MAX_DEPTH = 16;

/** The text of an error and of its causes, outermost first, joined by `: ` as all dstack clients expect. */
export function errorChain(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && depth < MAX_DEPTH; depth++) {
    if (!(current instanceof Error)) {
      parts.push(String(current));
      break;
    }
    parts.push(current.message || current.name);
    current = current.cause;
  }
  return parts.join(": ");
}
