import { utf8 } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";
import { z } from "zod";
import { KeyBackupError } from "./errors.ts";

/** Lower-case hex of so many bytes. */
export const hexOf = (bytes: number): z.ZodString =>
  z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`), `expected ${bytes} bytes as lower-case hex`);

/** The one spelling of a file: two spaces, keys in the order of the object, a final newline. */
export const jsonFile = (value: unknown): Uint8Array => utf8(`${JSON.stringify(value, null, 2)}\n`);

/**
 * Reads a file that `jsonFile` wrote. Unknown and missing members, other types and every other
 * spelling are refused, so that what was signed or hashed is what is read.
 * @param rebuild the object again with its keys in order
 * @throws KeyBackupError `file-malformed`
 */
export function parseJsonFile<T>(
  bytes: Uint8Array,
  options: {
    readonly what: string;
    readonly maxBytes: number;
    readonly schema: z.ZodType<T>;
    readonly rebuild: (value: T) => unknown;
  },
): T {
  const { what, maxBytes, schema, rebuild } = options;
  if (bytes.length > maxBytes) throw malformed(`${what}: ${bytes.length} bytes, at most ${maxBytes} are read`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw malformed(`${what}: not UTF-8 JSON`, cause);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw malformed(`${what}: ${excerpt(z.prettifyError(parsed.error), { lines: true })}`);
  if (!Buffer.from(bytes).equals(jsonFile(rebuild(parsed.data))))
    throw malformed(`${what}: spelled otherwise than it is written; take the original file`);
  return parsed.data;
}

const malformed = (text: string, cause?: unknown): KeyBackupError =>
  new KeyBackupError("file-malformed", text, { cause });
