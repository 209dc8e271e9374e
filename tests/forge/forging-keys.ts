import { p256FromScalar, type P256Key } from "@dstack/keys";

export type KeyName = "root" | "pckCa" | "pck" | "tcbSigner" | "qeSigner" | "attestation" | "stranger";

const KEY_NAMES: readonly KeyName[] = ["root", "pckCa", "pck", "tcbSigner", "qeSigner", "attestation", "stranger"];
const KEYS = new Map<KeyName, P256Key>(
  KEY_NAMES.map((name, index) => [name, p256FromScalar(new Uint8Array(32).fill(index + 1))]),
);
/** The key that stands behind a name: always the same, worth nothing. */
export const keyOf = (name: KeyName): P256Key => KEYS.get(name)!;
