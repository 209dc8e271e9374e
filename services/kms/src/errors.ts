import { CodedError } from "@dstack/errors";

export type KmsErrorCode =
  | "config-invalid"
  | "not-bootstrapped"
  | "already-bootstrapped"
  | "key-folder-partial"
  | "key-folder-invalid"
  | "agent-unavailable"
  | "self-evidence-invalid"
  | "self-unauthorized"
  | "source-refused"
  | "auth-unreachable"
  | "auth-answer-invalid"
  | "image-unavailable"
  | "image-mismatch"
  | "measurement-mismatch"
  | "backup-refused"
  | "restore-refused"
  | "overloaded"
  | "not-development"
  | "stopped"
  | "usage";

/** Every refusal of this service that is not an RPC answer by itself. Match on `code`, never on the text. */
export class KmsError extends CodedError<KmsErrorCode> {}
