import { createHash } from "node:crypto";
import { hash32, hash48 } from "@dstack/bytes";
import type { Hash32, Hash48 } from "@dstack/bytes";

/** SHA-384 of the parts joined. This file is the package's only way to a hash function. */
export function sha384(...parts: readonly Uint8Array[]): Hash48 {
  return hash48(digest("sha384", parts));
}

/** SHA-256 of the parts joined. */
export function sha256(...parts: readonly Uint8Array[]): Hash32 {
  return hash32(digest("sha256", parts));
}

/** SHA-384 over data that is produced piece by piece. */
export interface Sha384Stream {
  update(bytes: Uint8Array): void;
  digest(): Hash48;
}

export function sha384Stream(): Sha384Stream {
  const hash = createHash("sha384");
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => hash48(new Uint8Array(hash.digest())),
  };
}

function digest(algorithm: string, parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}
