/** Standard base64 with padding. */
export const toBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** The bytes of canonical standard base64; undefined for any other text. */
export function fromBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, "base64");
  // Buffer skips what it does not know; writing the bytes again shows whether it did.
  return bytes.toString("base64") === text ? new Uint8Array(bytes) : undefined;
}
