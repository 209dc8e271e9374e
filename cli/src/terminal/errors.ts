import { CodedError, type CodedErrorOptions } from "@dstack/errors";

export type CliErrorCode = "failed" | "usage" | "denied" | "not-found";

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
