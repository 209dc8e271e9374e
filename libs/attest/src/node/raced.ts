import { AttestError } from "../errors.ts";

/** The result, a refusal once the signal fires, or what stands in after a time. Nothing is left behind. */
export async function raced<T>(
  result: Promise<T>,
  signal: AbortSignal | undefined,
  standIn?: { readonly afterMs: number; readonly value: T },
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const stop = (): void => reject(signal === undefined ? undefined : waitAborted(signal));
  signal?.addEventListener("abort", stop, { once: true });
  const timer = standIn === undefined ? undefined : setTimeout(() => resolve(standIn.value), standIn.afterMs);
  try {
    return await Promise.race([result, promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

export const waitAborted = (signal: AbortSignal): AttestError =>
  new AttestError("collateral-unavailable", "collateral: the wait was aborted", { cause: signal.reason });
