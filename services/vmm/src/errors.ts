import { CodedError } from "@dstack/errors";

export type VmmErrorCode =
  | "config-invalid"
  | "request-invalid"
  | "not-found"
  | "conflict"
  | "unsupported"
  | "image-unusable"
  | "vm-broken"
  | "pool-exhausted"
  | "supervisor-failed"
  | "qemu-unusable"
  | "disk-failed"
  | "guest-unreachable"
  | "log-unavailable";

/** Every refusal and failure of the VMM. Match on `code`; its text goes to the caller. */
export class VmmError extends CodedError<VmmErrorCode> {}
