import { CodedError } from "@dstack/errors";

export type MeasureErrorCode =
  | "firmware-invalid"
  | "kernel-invalid"
  | "vm-config-invalid"
  | "unsupported"
  | "measurement-document-invalid"
  | "material-unbound"
  | "event-log-unusable";

/** Every refusal of this package. Match on `code`, never on the text. */
export class MeasureError extends CodedError<MeasureErrorCode> {}
