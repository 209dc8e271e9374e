import { CodedError, type ErrorTable } from "@dstack/errors";

export const COMPOSE_ERRORS = {
  "too-large": "the file has more bytes than are read",
  "json-invalid": "the manifest is not JSON, or names a key twice",
  "manifest-invalid": "the manifest lacks a field, or has one of the wrong kind",
  "size-invalid": "not a size such as 512M or 20G",
  "yaml-invalid": "the compose file cannot be read as one",
  "interpolation-invalid": "`${` of the compose file begins no use of a variable",
  "compose-invalid": "the compose file is YAML, and no compose file that Docker could run",
  "image-invalid": "not a name of a container image",
  "pin-failed": "a digest could not be written into the compose file without changing anything else",
  "env-invalid": "the environment has a name or value that cannot be sent, or too many",
  "length-wrong": "an id or hash of another length than its kind",
} as const satisfies ErrorTable;

export type ComposeErrorCode = keyof typeof COMPOSE_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class ComposeError extends CodedError<ComposeErrorCode> {}
