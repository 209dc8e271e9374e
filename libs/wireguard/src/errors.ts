import { CodedError, type ErrorTable } from "@dstack/errors";

export const WIREGUARD_ERRORS = {
  "key-invalid": "not 32 bytes in base64",
  "address-invalid": "not an IPv4 address or network",
  "endpoint-invalid": "not HOST:PORT",
  "interface-invalid": "not a name that an interface can have",
  "interface-failed": "the kernel's interface could not be made, read or changed",
  "device-refused": "the WireGuard device did not take its configuration",
} as const satisfies ErrorTable;

export type WireGuardErrorCode = keyof typeof WIREGUARD_ERRORS;

/** Every refusal and failure of this package. Match on `code`, never on the text. */
export class WireGuardError extends CodedError<WireGuardErrorCode> {}
