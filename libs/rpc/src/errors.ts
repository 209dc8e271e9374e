import { CodedError, type CodedErrorOptions, type ErrorTable } from "@dstack/errors";

export const RPC_ERRORS = {
  "bad-request": {
    meaning: "the request is not a message of the method",
    next: "nothing to do on the server: the caller changes the field that the text names",
  },
  "payload-too-large": {
    meaning: "the request's body is larger than the method reads",
    next: "nothing to do on the server: the caller sends less, or later where the text says so",
  },
  unauthenticated: {
    meaning: "the method wants credentials that the caller did not show",
    next: "the caller shows what the method wants: a token (`dstack kms --help` names its option), or an app's certificate",
  },
  "unknown-method": {
    meaning: "the service has no such method",
    next: "nothing to do on the server: the caller takes a method of the API's reference",
  },
  "handler-failed": {
    meaning: "the method failed; its text says why",
    next: "do what is said of the code or rule that the text ends with; the server's log has the same request id",
  },
  "transport-failed": {
    meaning: "no answer came: not connected, cut off, or past the deadline",
    next: "`curl` the address of the text; start the server that is to answer there",
  },
  "remote-error": {
    meaning: "the other side answered with an error",
    next: "do what the text says: it is the other side's",
  },
} as const satisfies ErrorTable;

export type RpcErrorCode = keyof typeof RPC_ERRORS;

/**
 * A failed call. On the server its text goes to the caller, causes included; `status` is 400
 * unless the transport demands another (401 where HTTP authentication is missing).
 */
export class RpcError extends CodedError<RpcErrorCode> {
  readonly status: number;
  constructor(
    code: RpcErrorCode,
    message: string,
    { status, ...options }: CodedErrorOptions & { status?: number } = {},
  ) {
    super(code, message, options);
    this.status = status ?? 400;
  }
}
