import { CodedError, type CodedErrorOptions, type ErrorTable } from "@dstack/errors";

export const PROCESS_ERRORS = {
  "not-started": "the program could not be started",
  "timed-out": "the program ran past its deadline and was ended",
  failed: "the program ended with a code that means failure",
  aborted: "the caller gave the program up, and it was ended",
} as const satisfies ErrorTable;

export type ProcessErrorCode = keyof typeof PROCESS_ERRORS;

/** The child could not be started, ran past its deadline or ended with a code that means failure. */
export class ProcessError extends CodedError<ProcessErrorCode> {
  readonly exitCode: number | undefined;
  readonly stderr: string;
  constructor(
    code: ProcessErrorCode,
    message: string,
    { exitCode, stderr, ...options }: CodedErrorOptions & { exitCode?: number; stderr?: string } = {},
  ) {
    super(code, message, options);
    this.exitCode = exitCode;
    this.stderr = stderr ?? "";
  }
}
