import { isCoded, type CodedError } from "./coded-error.ts";

/**
 * Runs a step whose foreseen errors, whichever package foresaw them, become what `refuse` makes of
 * them: "turn their error into mine". Where `refuse` gives undefined, and for errors that nobody
 * foresaw, the error goes on as it is. The step may be asynchronous.
 */
export function asRefusal<T>(run: () => T, refuse: (cause: CodedError) => Error | undefined): T {
  const onError = (cause: unknown): never => {
    throw (isCoded(cause) ? refuse(cause) : undefined) ?? cause;
  };
  try {
    const value = run();
    return value instanceof Promise ? (value.catch(onError) as T) : value;
  } catch (cause) {
    return onError(cause);
  }
}

/** What a step gave, or the foreseen error that it ended with. */
export type Attempt<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: CodedError };

/** Runs a step; a foreseen error is a value, any other rejects. */
export async function attempt<T>(run: () => T | Promise<T>): Promise<Attempt<T>> {
  try {
    return { ok: true, value: await run() };
  } catch (error) {
    if (!isCoded(error)) throw error;
    return { ok: false, error };
  }
}
