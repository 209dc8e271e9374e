import { DerError } from "./errors.ts";

const MAX_PEM_CHARS = 1024 * 1024;
const MAX_BLOCKS = 16;
const BEGIN = "-----BEGIN ";
const END = "-----END ";

/**
 * The DER of every PEM block (RFC 7468) with this label, in order. Text around the blocks is
 * ignored, as the format allows; a block of another label, one that is broken in any way, or no block is refused:
 * what is passed over here would be a certificate elsewhere.
 * @throws DerError
 */
export function readPem(text: string, label: string, what = "PEM"): Uint8Array[] {
  if (text.length > MAX_PEM_CHARS)
    throw new DerError("too-large", `${what}: ${text.length} characters, limit ${MAX_PEM_CHARS}`);
  const begin = `${BEGIN}${label}-----`;
  const end = `${END}${label}-----`;
  const broken = (why: string): DerError => new DerError("value-invalid", `${what}: ${why}`);
  const blocks: Uint8Array[] = [];
  let at = 0;
  for (let start = text.indexOf(BEGIN); start >= 0; start = text.indexOf(BEGIN, at)) {
    if (hasEnd(text, at, start)) throw broken("a block ends that did not begin");
    if (!text.startsWith(begin, start)) throw broken(`expected ${label}, got ${labelAt(text, start)}`);
    if (blocks.length === MAX_BLOCKS) throw new DerError("too-large", `${what}: over ${MAX_BLOCKS} blocks`);
    const stop = text.indexOf("-", start + begin.length);
    if (stop < 0 || !text.startsWith(end, stop)) throw broken(`a block of ${label} does not end as it begins`);
    blocks.push(strictBase64(text.slice(start + begin.length, stop), what));
    at = stop + end.length;
  }
  if (hasEnd(text, at, text.length)) throw broken("a block ends that did not begin");
  if (blocks.length === 0) throw broken(`no ${label} block`);
  return blocks;
}

/** One PEM block with 64 characters a line and a final newline. */
export function writePem(der: Uint8Array, label: string): string {
  const lines = (der as unknown as { toBase64(): string }).toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function hasEnd(text: string, from: number, to: number): boolean {
  const found = text.indexOf(END, from);
  return found >= 0 && found < to;
}

/** For the error: what stands after BEGIN, as far as it reads like a label. */
const labelAt = (text: string, start: number): string =>
  /^[A-Z0-9 ]{1,40}/.exec(text.slice(start + BEGIN.length, start + BEGIN.length + 40))?.[0] ?? "no label";

function strictBase64(text: string, what: string): Uint8Array {
  const bytes = decoded(text);
  if (bytes === undefined || bytes.length === 0) throw new DerError("value-invalid", `${what}: not canonical base64`);
  return bytes;
}

function decoded(text: string): Uint8Array | undefined {
  try {
    return (Uint8Array as unknown as Base64Codec).fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}

// ES2026, in Node and browsers alike, which Buffer is not. "strict" refuses missing padding and stray bits.
interface Base64Codec {
  fromBase64(text: string, options: { lastChunkHandling: "strict" }): Uint8Array;
}
