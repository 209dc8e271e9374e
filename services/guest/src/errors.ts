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
export class GuestError extends Error {
  readonly code: GuestErrorCode;
  constructor(code: GuestErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GuestError";
    this.code = code;
  }
}
