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
export class RpcError extends Error {
  readonly code: RpcErrorCode;
  readonly status: number;
  constructor(code: RpcErrorCode, message: string, options?: ErrorOptions & { status?: number }) {
    super(message, options);
    this.name = "RpcError";
    this.code = code;
    this.status = options?.status ?? 400;
  }
}

/** The text of an error and of its causes, outermost first, joined by `: ` as all dstack clients expect. */
export function errorChain(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && depth < 16; depth++) {
    if (!(current instanceof Error)) {
      parts.push(String(current));
      break;
    }
    parts.push(current.message || current.name);
    current = current.cause;
  }
  return parts.join(": ");
}
