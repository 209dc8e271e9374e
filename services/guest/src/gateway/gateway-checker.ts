import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import type { GatewayClient } from "./gateway-registration.ts";

/** All in seconds. */
export const CHECKER = { poll: 10, refresh: 180, handshakeTimeout: 180, firstRetry: 30, lastRetry: 120 } as const;

export type CheckerAction = "missing-config" | "handshake-timeout" | "periodic";

/**
 * Decides when a gateway is asked again; pure, so that its schedule can be tested by the second.
 * Without a tunnel it asks with growing pauses; with one it refreshes now and then, and at once
 * when no handshake came for too long.
 */
export class GatewaySchedule {
  #registered: boolean;
  #failures = 0;
  #retryAt: number;
  #lastRefresh: number;
  #lastForced = Number.NEGATIVE_INFINITY;
  #neverSince: number | undefined;
  #handshake: number | undefined;

  /** @param now seconds on any clock that does not jump */
  constructor(registered: boolean, now: number) {
    this.#registered = registered;
    this.#lastRefresh = now;
    this.#retryAt = now;
  }

  /** What to do now. @param handshake time of the newest handshake on the same clock */
  next(now: number, handshake: number | undefined): CheckerAction | undefined {
    if (!this.#registered) return now >= this.#retryAt ? "missing-config" : undefined;
    if (handshake === undefined) this.#neverSince ??= this.#handshake === undefined ? now : undefined;
    else {
      this.#handshake = handshake;
      this.#neverSince = undefined;
    }
    const since = this.#handshake ?? this.#neverSince ?? now;
    if (now - since >= CHECKER.handshakeTimeout && now - this.#lastForced >= CHECKER.handshakeTimeout)
      return "handshake-timeout";
    return now - this.#lastRefresh >= CHECKER.refresh ? "periodic" : undefined;
  }

  /** Tells how an action went. */
  done(action: CheckerAction, succeeded: boolean, now: number): void {
    this.#lastRefresh = now;
    if (action === "handshake-timeout") this.#lastForced = now;
    if (succeeded) {
      this.#registered = true;
      this.#failures = 0;
    } else if (!this.#registered) {
      this.#failures++;
      this.#retryAt = now + retryPause(this.#failures);
    }
  }
}

/** Pause after so many failures in a row. */
export function retryPause(failures: number): number {
  return failures === 0 ? 0 : Math.min(CHECKER.firstRetry * 2 ** Math.min(failures - 1, 8), CHECKER.lastRetry);
}

export interface CheckerOptions {
  readonly client: GatewayClient;
  readonly registered: boolean;
  /** Called when a registration that boot could not make was made. */
  readonly onRecovered: () => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Unix seconds, as handshakes are dated; for tests. */
  readonly now?: () => number;
  /** Waits until the next look; for tests. */
  readonly pause?: (signal: AbortSignal) => Promise<void>;
}

/** Keeps the tunnel alive until stopped. */
export async function runGatewayChecker({
  client,
  registered,
  onRecovered,
  log,
  signal,
  now = unixSeconds,
  pause = pollPause,
}: CheckerOptions): Promise<void> {
  const schedule = new GatewaySchedule(registered, now());
  if (!registered) schedule.done("missing-config", false, now());
  let degraded = !registered;
  while (!signal.aborted) {
    const handshake = await client.latestHandshake().catch(() => undefined);
    const action = schedule.next(now(), handshake);
    if (action !== undefined) {
      try {
        await client.register({ force: action !== "periodic" });
        schedule.done(action, true, now());
        if (degraded) onRecovered();
        degraded = false;
      } catch (error) {
        schedule.done(action, false, now());
        log.warn({ action, error: errorChain(error) }, "gateway registration failed");
      }
    }
    await pause(signal);
  }
}

const unixSeconds = (): number => Date.now() / 1000;
const pollPause = (signal: AbortSignal): Promise<void> =>
  sleep(CHECKER.poll * 1000, undefined, { signal, ref: false }).catch(() => undefined);
