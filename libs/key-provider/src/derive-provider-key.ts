import { createHash } from "node:crypto";
import type { TdReport } from "@dstack/attest";

/**
 * The 32 bytes that a provider gives to a trust domain: SHA-256 of its sealing key, MRTD and RTMR0 to 3, so that
 * another image, another app or another instance gets another key.
 */
export function deriveProviderKey(sealingKey: Uint8Array, { mrTd, rtmr }: Pick<TdReport, "mrTd" | "rtmr">): Uint8Array {
  const hash = createHash("sha256").update(sealingKey).update(mrTd);
  for (const register of rtmr) hash.update(register);
  return new Uint8Array(hash.digest());
}
