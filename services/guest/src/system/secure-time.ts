import { GuestError } from "../errors.ts";
import type { RunProgram } from "./run-program.ts";

/**
 * Starts the time service and waits until the clock is right to 0.1 s, at most 30 tries of 5 s.
 * @throws GuestError `time-unsynced`
 */
export async function syncTime(run: RunProgram): Promise<void> {
  try {
    await run("chronyd", [], { timeoutMs: 30_000 });
    await run("chronyc", ["waitsync", "30", "0.1", "0", "5"], { timeoutMs: 180_000 });
  } catch (cause) {
    throw new GuestError(
      "time-unsynced",
      "Failed to sync system time; a manifest with secure_time needs a reachable time server",
      { cause },
    );
  }
}
