import { CodedError, type ErrorTable } from "@dstack/errors";

export const MEASURE_ERRORS = {
  "firmware-invalid": "the firmware file is no TDVF, or breaks its layout",
  "kernel-invalid": "the kernel file is no bzImage, or breaks its layout",
  "vm-config-invalid": "the description of the machine has a value that cannot be measured",
  unsupported: "a machine or firmware whose measurements are not computed here",
  "measurement-document-invalid": "the image's measurement document cannot be used",
  "material-unbound": "the material for the measurement is not the one that the image's hash names",
  "event-log-unusable": "the boot event log lacks what the comparison needs",
} as const satisfies ErrorTable;

export type MeasureErrorCode = keyof typeof MEASURE_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class MeasureError extends CodedError<MeasureErrorCode> {}
