import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";

const STEP_TIMEOUT_MS = 90_000;

/** Undoes what the boot did, newest first. A step that fails or hangs does not hold the others. */
export async function stopGuest(cleanups: readonly (() => Promise<void>)[], log: Logger): Promise<void> {
  for (const step of cleanups.toReversed()) {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${STEP_TIMEOUT_MS} ms`)), STEP_TIMEOUT_MS);
    });
    try {
      await Promise.race([step(), limit]);
    } catch (error) {
      log.warn({ error: errorChain(error) }, "a step of the shutdown failed");
    } finally {
      clearTimeout(timer);
    }
  }
}
