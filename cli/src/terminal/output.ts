/**
 * The terminal: what a command prints, says and is called with.
 * In: values and texts, some of them from strangers.
 * Out: data on standard output, talk on standard error, errors with their exit code and what to do next.
 * Never: a stranger's text that moves the cursor or hides something.
 */
import { visible } from "@dstack/errors";

export { visible };

/** Where a command's words go. */
export interface Output {
  /** One value, in JSON, to standard output. */
  json(value: unknown): void;
  /** Lines to standard output. */
  print(text: string): void;
  /** Lines to standard error. */
  say(text: string): void;
}

export const standardOutput: Output = {
  json: (value) => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`),
  print: (text) => void process.stdout.write(`${text}\n`),
  say: (text) => void process.stderr.write(`${text}\n`),
};

/** Columns padded to their widest cell; control characters are shown, not obeyed. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows].map((row) => row.map(visible));
  const widths = headings.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
