import { DerError } from "./errors.ts";

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g;
const MAX_PEM_CHARS = 1024 * 1024;
const MAX_BLOCKS = 16;

/**
 * The DER of every PEM block (RFC 7468) with this label, in order. Text around the blocks is
 * ignored, as the format allows; a block of another label, broken base64 or no block is refused.
 * @throws DerError
 */
export function readPem(text: string, label: string, what = "PEM"): Uint8Array[] {
  if (text.length > MAX_PEM_CHARS)
    throw new DerError("too-large", `${what}: ${text.length} characters, limit ${MAX_PEM_CHARS}`);
  const blocks: Uint8Array[] = [];
  for (const [, found, body] of text.matchAll(BLOCK)) {
    if (found !== label) throw new DerError("value-invalid", `${what}: expected ${label}, got ${found}`);
    if (blocks.length === MAX_BLOCKS) throw new DerError("too-large", `${what}: over ${MAX_BLOCKS} blocks`);
    blocks.push(strictBase64((body ?? "").replaceAll(/\s/g, ""), what));
  }
  if (blocks.length === 0) throw new DerError("value-invalid", `${what}: no ${label} block`);
  return blocks;
}

/** One PEM block with 64 characters a line and a final newline. */
export function writePem(der: Uint8Array, label: string): string {
  const lines = (der as unknown as { toBase64(): string }).toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function strictBase64(text: string, what: string): Uint8Array {
  const bytes = text === "" ? undefined : decoded(text);
  if (bytes === undefined) throw new DerError("value-invalid", `${what}: not canonical base64`);
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
