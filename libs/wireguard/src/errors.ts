import { CodedError } from "@dstack/errors";

export type WireGuardErrorCode =
  | "key-invalid"
  | "address-invalid"
  | "endpoint-invalid"
  | "interface-invalid"
  | "interface-failed"
  | "device-refused";

/** Every refusal and failure of this package. Match on `code`, never on the text. */
export class WireGuardError extends CodedError<WireGuardErrorCode> {}
