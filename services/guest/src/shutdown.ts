/**
 * The way down.
 * In: what the boot left to be undone, in the order in which it was done.
 * Out: nothing; what fails is logged.
 * Never: a step that keeps the others from running, be it that it fails or that it hangs.
 */
import { errorChain } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { Undo } from "./system/boot-context.ts";
import { withinTime } from "./system/deadline.ts";

const STEP_TIMEOUT_MS = 90_000;

/** Undoes what the boot did, newest first. */
export async function stopGuest(undo: readonly Undo[], log: Logger): Promise<void> {
  for (const step of undo.toReversed()) {
    try {
      await withinTime(step(), STEP_TIMEOUT_MS);
    } catch (error) {
      log.warn({ error: errorChain(error) }, "a step of the shutdown failed");
    }
  }
}
