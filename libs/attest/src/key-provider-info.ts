import { parseJson, utf8, utf8Decode } from "@dstack/bytes";
import { AttestError } from "./errors.ts";

/** Payload of the `key-provider` event: who delivered the app's keys. */
export interface KeyProviderInfo {
  /** `kms`, `local-sgx`, `tpm` or `none`. */
  readonly name: string;
  /** For `kms` hex of the DER SubjectPublicKeyInfo of its root CA, for `local-sgx` hex MRENCLAVE; may be "". */
  readonly id: string;
}

/** The event's payload: compact JSON, name first. Its bytes are hashed, so its form is fixed. */
export const encodeKeyProviderInfo = ({ name, id }: KeyProviderInfo): Uint8Array => utf8(JSON.stringify({ name, id }));

/** @throws AttestError `event-invalid` */
export function parseKeyProviderInfo(payload: Uint8Array): KeyProviderInfo {
  let value: unknown;
  try {
    value = parseJson(utf8Decode(payload, "key-provider"));
  } catch (cause) {
    throw new AttestError("event-invalid", "key-provider event: not JSON text", { cause });
  }
  const { name, id } = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  if (typeof name !== "string" || typeof id !== "string")
    throw new AttestError("event-invalid", "key-provider event: expected name and id as text");
  return { name, id };
}
