import { asRefusal } from "@dstack/errors";
import { RpcError } from "@dstack/rpc";

/** Runs a step; its refusal comes out as an RPC error whose text begins with the context, which clients match on. */
export async function withContext<T>(context: string, run: () => T | Promise<T>): Promise<T> {
  return asRefusal<Promise<T>>(
    async () => run(),
    (cause) => (cause instanceof RpcError ? undefined : new RpcError("handler-failed", context, { cause })),
  );
}
