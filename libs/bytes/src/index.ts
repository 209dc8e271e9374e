/**
 * Fixed-length byte strings, hex at the edges, and concatenation.
 *
 * Bytes are `Uint8Array` everywhere inside; hex exists only on wires and screens, and
 * goes through `parseHex` and `toHex` so that no place pads, truncates or guesses.
 */
export { BytesError } from "./errors.ts";
export type { BytesErrorCode } from "./errors.ts";
export { parseBareHex, parseHex, parseHexOfLength, toHex } from "./hex.ts";
export { appId, hash32, hash48, instanceId, publicKey32, reportData } from "./branded.ts";
export type { AppId, Hash32, Hash48, InstanceId, PublicKey32, ReportData } from "./branded.ts";
export { parseSize, SIZE_GRAMMARS } from "./size.ts";
export type { SizeGrammar } from "./size.ts";
export { endOfString, parseJson } from "./strict-json.ts";
export type { ParseJsonOptions } from "./strict-json.ts";
export { ByteCursor } from "./byte-cursor.ts";
export type { Refuse } from "./byte-cursor.ts";
export { scaleBool, scaleBytes, scaleCompact, scaleList, scaleOption, ScaleReader, scaleText } from "./scale.ts";
export {
  concatBytes,
  equalBytes,
  isAllZero,
  readU16LE,
  readU32LE,
  readU64LE,
  u16le,
  u32be,
  u32le,
  u64be,
  u64le,
  utf8,
  utf8Decode,
} from "./buffers.ts";
