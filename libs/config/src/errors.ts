import { CodedError, type ErrorTable } from "@dstack/errors";

export const CONFIG_ERRORS = {
  unreadable: "the configuration file cannot be read",
  syntax: "the configuration file is not TOML",
  invalid: "a key of the configuration has a value that cannot be used",
  "unit-invalid": "not a duration, or not an address to listen on",
} as const satisfies ErrorTable;

export type ConfigErrorCode = keyof typeof CONFIG_ERRORS;

/** A configuration that cannot be used. The text names the file and the key. */
export class ConfigError extends CodedError<ConfigErrorCode> {}
