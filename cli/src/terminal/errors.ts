import { CodedError, type CodedErrorOptions, type ErrorTable } from "@dstack/errors";

export const CLI_ERRORS = {
  failed: "the command could not do its work (exit code 1)",
  usage: "the command line cannot be used (exit code 2)",
  denied: "denied, or the verification failed (exit code 3)",
  "not-found": "what the command names is not there (exit code 4)",
} as const satisfies ErrorTable;

export type CliErrorCode = keyof typeof CLI_ERRORS;

/** How a command ends, as scripts see it. */
export const EXIT_CODES = [
  { code: 0, error: undefined, meaning: "done" },
  { code: 1, error: "failed", meaning: "failed" },
  { code: 2, error: "usage", meaning: "the command line cannot be used" },
  { code: 3, error: "denied", meaning: "denied, or a verification failed" },
  { code: 4, error: "not-found", meaning: "what the command names is not there" },
] as const satisfies readonly { code: number; error: CliErrorCode | undefined; meaning: string }[];

/** What a command failed with: the text a person reads, and what to do next. */
export class CliError extends CodedError<CliErrorCode> {
  readonly hint: string | undefined;
  constructor(code: CliErrorCode, message: string, { hint, ...options }: CodedErrorOptions & { hint?: string } = {}) {
    super(code, message, options);
    this.hint = hint;
  }
  get exitCode(): number {
    return EXIT_CODES.find(({ error }) => error === this.code)?.code ?? 1;
  }
}

/** @throws CliError `usage` */
export function usage(message: string): never {
  throw new CliError("usage", message);
}
