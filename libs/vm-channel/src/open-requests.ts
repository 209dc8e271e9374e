import { randomInt } from "node:crypto";
import type { ChannelAnswer, RequestOptions } from "./channel-answer.ts";
import { ChannelError } from "./errors.ts";

/** Our requests that wait for the peer's answer; each ends once, by its answer, its deadline or its signal. */
export interface OpenRequests {
  /**
   * Waits for the answer to a request that `send` sends under the id it is given.
   * @param send gives why it could not be sent, if so
   */
  open(path: string, send: (id: number) => ChannelError | undefined, options?: RequestOptions): Promise<ChannelAnswer>;
  /** Ends the request of this id, if it is open. */
  answered(id: number, answer: ChannelAnswer): void;
  /** Ends all of them. */
  fail(error: ChannelError): void;
}

const DEFAULT_TIMEOUT_MS = 30_000;

export function openRequests(): OpenRequests {
  const settlers = new Map<number, (outcome: ChannelAnswer | ChannelError) => void>();
  // A random start: an answer meant for the process before us must not match a request of ours.
  let nextId = randomInt(2 ** 40);
  return {
    open: (path, send, { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = {}) =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        const settle = (outcome: ChannelAnswer | ChannelError): void => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", abort);
          settlers.delete(id);
          if (outcome instanceof ChannelError) reject(outcome);
          else resolve(outcome);
        };
        const abort = (): void => settle(new ChannelError("aborted", `${path} was given up`));
        const late = (): void => settle(new ChannelError("timed-out", `${path}: no answer within ${timeoutMs} ms`));
        const timer = setTimeout(late, timeoutMs);
        settlers.set(id, settle);
        signal?.addEventListener("abort", abort, { once: true });
        if (signal?.aborted === true) {
          abort();
          return;
        }
        const failure = send(id);
        if (failure !== undefined) settle(failure);
      }),
    answered: (id, answer) => settlers.get(id)?.(answer),
    fail: (error) => {
      for (const settle of settlers.values()) settle(error);
    },
  };
}
