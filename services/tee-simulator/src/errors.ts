import { CodedError, type ErrorTable } from "@dstack/errors";

export const SIMULATOR_ERRORS = {
  "seed-invalid": "the seed is not 64 hex digits",
  "config-invalid": "the simulator's configuration cannot be used",
  "fuse-failed": "/dev/fuse could not be used",
  "mount-failed": "a file system could not be mounted",
  "quote-refused": "the software key provider gives no key for this quote",
  "options-invalid": "an option of the command line cannot be used",
} as const satisfies ErrorTable;

export type SimulatorErrorCode = keyof typeof SIMULATOR_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class SimulatorError extends CodedError<SimulatorErrorCode> {}
