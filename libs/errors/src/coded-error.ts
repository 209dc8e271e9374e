/** What a caller may decide on, by name; never a secret, for it goes into logs and answers. */
export type Facts = Readonly<Record<string, string | number | boolean>>;

export interface CodedErrorOptions extends ErrorOptions {
  readonly facts?: Facts | undefined;
}

/**
 * A refusal or failure that was foreseen. A package's error is a one-line subclass whose type
 * argument is the union of its codes, so that `instanceof` narrows `code`.
 */
export class CodedError<Code extends string = string> extends Error {
  /** Stable; what everybody matches on. */
  readonly code: Code;
  readonly facts: Facts;

  constructor(code: Code, message: string, { facts, ...options }: CodedErrorOptions = {}) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.facts = facts ?? {};
  }
}

/** Whether one of our packages foresaw this error, with one of these codes where any are given. */
export function isCoded<Code extends string>(error: unknown, ...codes: readonly Code[]): error is CodedError<Code> {
  return error instanceof CodedError && (codes.length === 0 || (codes as readonly string[]).includes(error.code));
}
