import { CodedError } from "@dstack/errors";

export type SimulatorErrorCode = "seed-invalid" | "config-invalid" | "fuse-failed" | "mount-failed" | "options-invalid";

/** Every refusal of this package. Match on `code`, never on the text. */
export class SimulatorError extends CodedError<SimulatorErrorCode> {}
