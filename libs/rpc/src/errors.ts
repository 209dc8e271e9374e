import { CodedError, type CodedErrorOptions } from "@dstack/errors";

export type RpcErrorCode =
  | "bad-request"
  | "payload-too-large"
  | "unauthenticated"
  | "unknown-method"
  | "handler-failed"
  | "transport-failed"
  | "remote-error";

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
