import type { AuditEntry, AuditLog } from "@dstack/audit-log";
import { toHex } from "@dstack/bytes";
import { secp256k1PublicKey, spkiDer } from "@dstack/keys";
import type { RecordInstall } from "./install-root-keys.ts";

/** An audit line that names the roots by their public keys. */
export function recordInstall(
  audit: Pick<AuditLog, "append">,
  entry: AuditEntry & { readonly action: "bootstrap" | "onboard" | "restore"; readonly outcome: string },
): RecordInstall {
  return ({ rootCa, rootK256 }, domain) =>
    audit.append({
      ...entry,
      domain,
      caPubkey: toHex(spkiDer(rootCa)),
      k256Pubkey: toHex(secp256k1PublicKey(rootK256)),
    });
}
