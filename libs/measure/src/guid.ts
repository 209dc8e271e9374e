import { concatBytes, parseHexOfLength } from "@dstack/bytes";

/** `8be4df61-93ca-11d2-aa0d-00e098032b8c` to its 16 bytes: the first three groups little-endian, the rest as written. */
export function guidBytes(text: string): Uint8Array {
  const raw = parseHexOfLength(text.replaceAll("-", ""), 16, "GUID");
  return concatBytes(raw.slice(0, 4).reverse(), raw.slice(4, 6).reverse(), raw.slice(6, 8).reverse(), raw.slice(8));
}
