export type SimulatorErrorCode = "seed-invalid" | "config-invalid" | "fuse-failed" | "mount-failed" | "options-invalid";

/** Every refusal of this package. Match on `code`, never on the text. */
export class SimulatorError extends Error {
  readonly code: SimulatorErrorCode;
  constructor(code: SimulatorErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SimulatorError";
    this.code = code;
  }
}
