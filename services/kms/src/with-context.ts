import { asRefusal, errorChain } from "@dstack/errors";
import { RpcError } from "@dstack/rpc";

/** Runs a step; its refusal comes out as an RPC error whose text begins with the context. */
export async function withContext<T>(context: string, run: () => T | Promise<T>): Promise<T> {
  return asRefusal<Promise<T>>(
    async () => run(),
    (cause) => {
      if (cause instanceof RpcError) return undefined;
      // Clients match on the text's beginning. A cause that begins with the context says it already.
      const text = errorChain(cause);
      return text.startsWith(context)
        ? new RpcError("handler-failed", text)
        : new RpcError("handler-failed", context, { cause });
    },
  );
}
