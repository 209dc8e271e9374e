export type ConfigErrorCode = "unreadable" | "syntax" | "invalid" | "unit-invalid";

/** A configuration that cannot be used. The text names the file and the key. */
export class ConfigError extends Error {
  readonly code: ConfigErrorCode;
  constructor(code: ConfigErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ConfigError";
    this.code = code;
  }
}
