import { hkdfSync } from "node:crypto";
import { concatBytes, utf8 } from "@dstack/bytes";
import { KeysError } from "./errors.ts";

const SALT = utf8("RATLS");

/**
 * HKDF-SHA256 with the salt `RATLS` and the context parts joined without separators: 32 bytes.
 *
 * Since nothing marks where one part ends, callers must pass at most one part of free length;
 * the derivations of `kms-keys.ts` check the lengths of all others.
 * @throws KeysError `length-wrong` where the input key is empty
 */
export function kdf(inputKey: Uint8Array, context: readonly Uint8Array[]): Uint8Array {
  if (inputKey.length === 0) throw new KeysError("length-wrong", "input key of a derivation is empty");
  return new Uint8Array(hkdfSync("sha256", inputKey, SALT, concatBytes(...context), 32));
}
