import { CodedError } from "@dstack/errors";

export type ConfigErrorCode = "unreadable" | "syntax" | "invalid" | "unit-invalid";

/** A configuration that cannot be used. The text names the file and the key. */
export class ConfigError extends CodedError<ConfigErrorCode> {}
