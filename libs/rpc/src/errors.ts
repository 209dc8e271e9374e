import { CodedError, type CodedErrorOptions, type ErrorTable } from "@dstack/errors";

export const RPC_ERRORS = {
  "bad-request": "the request is not a message of the method",
  "payload-too-large": "the request's body is larger than the method reads",
  unauthenticated: "the method wants credentials that the caller did not show",
  "unknown-method": "the service has no such method",
  "handler-failed": "the method failed; its text says why",
  "transport-failed": "no answer came: not connected, cut off, or past the deadline",
  "remote-error": "the other side answered with an error",
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
