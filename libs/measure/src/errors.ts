export type MeasureErrorCode =
  | "firmware-invalid"
  | "kernel-invalid"
  | "vm-config-invalid"
  | "unsupported"
  | "measurement-document-invalid"
  | "material-unbound"
  | "event-log-unusable";

/** Every refusal of this package. Match on `code`, never on the text. */
export class MeasureError extends Error {
  readonly code: MeasureErrorCode;
  constructor(code: MeasureErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "MeasureError";
    this.code = code;
  }
}
