import { AttestError } from "@dstack/attest";
import { RatlsError } from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { RpcError } from "@dstack/rpc";

/** Runs a step; its refusal comes out as an RPC error whose text begins with the context. */
export async function withContext<T>(context: string, run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    const isRefusal =
      cause instanceof RatlsError ||
      cause instanceof AttestError ||
      (cause instanceof Error && /^(AuditLog|Der|Bytes|Kms|Keys)Error$/.test(cause.name));
    if (!isRefusal) throw cause;
    // The innermost text may repeat the context: it is said once.
    if (errorChain(cause).startsWith(context)) throw new RpcError("handler-failed", errorChain(cause));
    throw new RpcError("handler-failed", context, { cause });
  }
}
