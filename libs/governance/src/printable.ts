const MAX_CHARS = 300;

/** Other people's words on one line of a terminal, a log or a page: no control characters, bounded. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return Array.from(
    text.slice(0, 2 * MAX_CHARS).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, " "),
  )
    .slice(0, MAX_CHARS)
    .join("");
}
