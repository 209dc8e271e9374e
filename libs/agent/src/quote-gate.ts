import { RpcError } from "@dstack/rpc";

/** Lets a few strangers at a time ask for quotes, which cost the whole machine time. */
export type QuoteGate = <T>(work: () => Promise<T>) => Promise<T>;

export function quoteGate(maxConcurrent: number): QuoteGate {
  let active = 0;
  return async (work) => {
    if (active >= maxConcurrent)
      throw new RpcError("bad-request", `more than ${maxConcurrent} requests for evidence at once; try again later`);
    active++;
    try {
      return await work();
    } finally {
      active--;
    }
  };
}
