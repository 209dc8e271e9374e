import { CodedError } from "@dstack/errors";

export type GuestErrorCode =
  | "host-share-invalid"
  | "config-invalid"
  | "policy-refused"
  | "unsupported"
  | "time-unsynced"
  | "keys-refused"
  | "keys-unavailable"
  | "keys-invalid"
  | "binding-mismatch"
  | "disk-invalid"
  | "disk-key-wrong"
  | "env-invalid"
  | "docker-failed"
  | "app-failed"
  | "gateway-failed";

/** Why the guest does not go on, or refuses a request. Match on `code`, never on the text. */
export class GuestError extends CodedError<GuestErrorCode> {}
