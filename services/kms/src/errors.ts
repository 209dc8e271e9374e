import { CodedError, type ErrorTable } from "@dstack/errors";

export const KMS_ERRORS = {
  "config-invalid": "a setting of the KMS cannot be used",
  "not-bootstrapped": "the KMS has no keys yet",
  "already-bootstrapped": "the KMS has keys already, or is being given some",
  "key-folder-partial": "the key folder holds a part of its files only",
  "key-folder-invalid": "a file of the key folder cannot be used",
  "agent-unavailable": "the guest agent of the KMS did not answer",
  "self-evidence-invalid": "the evidence of this KMS does not verify",
  "self-unauthorized": "the auth server does not allow this KMS",
  "source-refused": "the KMS to take the keys from is not accepted",
  "auth-unreachable": "the auth server could not be asked; this is no denial",
  "auth-answer-invalid": "the auth server's answer is not in its layout",
  "auth-answer-unproven":
    "the auth server's answer is not signed by a pinned key for this very question; this is no denial",
  "image-unavailable": "the OS image could not be downloaded, so it could not be measured",
  "image-mismatch": "the OS image is not the one that its hash names",
  "measurement-mismatch": "the registers of the quote are not those of the OS image on this machine",
  "backup-refused": "a backup of the keys is not given",
  "restore-refused": "the shares or the backup do not give the keys",
  overloaded: "too many requests wait for the auth server",
  "not-development": "only a key folder marked development does this",
  stopped: "the KMS was told to stop during the set-up",
  usage: "the command line cannot be used",
} as const satisfies ErrorTable;

export type KmsErrorCode = keyof typeof KMS_ERRORS;

/** Every refusal of this service that is not an RPC answer by itself. Match on `code`, never on the text. */
export class KmsError extends CodedError<KmsErrorCode> {}
