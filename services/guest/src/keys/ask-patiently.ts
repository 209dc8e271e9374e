import { setTimeout as sleep } from "node:timers/promises";
import { errorChain } from "@dstack/errors";
import { GuestError } from "../errors.ts";

/** One round of asking: keys, or why there are none now and another round may bring some. What is final is thrown. */
export type Round<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown };

export interface Patience {
  /** Who is asked, for messages: "KMS". */
  readonly whom: string;
  /** Told when the guest has to wait. */
  readonly onWaiting: (why: string) => void;
  /** How long to go on asking while there are no keys; an hour unless given. */
  readonly patienceMs?: number;
}

const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 30_000;

/**
 * Asks again and again with growing pauses, which no step of the wall clock shortens.
 * @throws GuestError `keys-unavailable` in the end, and what a round throws
 */
export async function askPatiently<T>(
  round: () => Promise<Round<T>>,
  { whom, onWaiting, patienceMs = 3_600_000 }: Patience,
): Promise<T> {
  const deadline = performance.now() + patienceMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS)) {
    const answer = await round();
    if (answer.ok) return answer.value;
    if (performance.now() + pauseMs > deadline)
      throw new GuestError("keys-unavailable", `Failed to get app keys from ${whom}`, { cause: answer.error });
    onWaiting(`waiting for the ${whom}: ${errorChain(answer.error)}; next attempt in ${pauseMs / 1000} s`);
    await sleep(pauseMs);
  }
}
