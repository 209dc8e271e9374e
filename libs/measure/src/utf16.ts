/** UTF-16LE without a byte order mark and without a terminator. */
export function utf16le(text: string): Uint8Array {
  const out = new Uint8Array(2 * text.length);
  const view = new DataView(out.buffer);
  for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), true);
  return out;
}
