/** Standard output is data, standard error is talk. */

export type OutputFormat = "text" | "json";

/** Where a command's words go. */
export interface Output {
  /** One value, in JSON, to standard output. */
  json(value: unknown): void;
  /** Lines to standard output. */
  print(text: string): void;
  /** Lines to standard error. */
  say(text: string): void;
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

export const standardOutput: Output = { json: printJson, print, say };

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

/** Control characters; those that are not seen; those that reorder what is seen, so that it reads as something else. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Text from elsewhere with such characters made visible, so that it can neither move the cursor nor hide anything. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (c) => {
    const code = c.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}
