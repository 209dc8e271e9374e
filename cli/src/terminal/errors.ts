import { CodedError, type CodedErrorOptions, type ErrorTable } from "@dstack/errors";

export const CLI_ERRORS = {
  failed: "the command could not do its work (exit code 1)",
  usage: "the command line cannot be used (exit code 2)",
  denied: "denied, or the verification failed (exit code 3)",
  "not-found": "what the command names is not there (exit code 4)",
} as const satisfies ErrorTable;

export type CliErrorCode = keyof typeof CLI_ERRORS;

/** Exit codes: 0 ok, 1 failed, 2 usage, 3 denied or verification failed, 4 not found. */
const EXIT_CODES: Readonly<Record<CliErrorCode, number>> = { failed: 1, usage: 2, denied: 3, "not-found": 4 };

/** What a command failed with: the text a person reads, and what to do next. */
export class CliError extends CodedError<CliErrorCode> {
  readonly hint: string | undefined;
  constructor(code: CliErrorCode, message: string, { hint, ...options }: CodedErrorOptions & { hint?: string } = {}) {
    super(code, message, options);
    this.hint = hint;
  }
  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** @throws CliError `usage` */
export function usage(message: string): never {
  throw new CliError("usage", message);
}
