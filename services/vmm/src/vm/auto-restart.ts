export interface RestartPolicy {
  readonly maxRetries: number;
  /** Seconds, as are the others. */
  readonly initialBackoff: number;
  readonly maxBackoff: number;
  readonly resetWindow: number;
}

/** Seconds on any clock that only goes forward. */
export interface RestartState {
  readonly attempts: number;
  readonly nextAt: number | undefined;
  readonly runningSince: number | undefined;
  readonly exhausted: boolean;
}

export const FRESH: RestartState = { attempts: 0, nextAt: undefined, runningSince: undefined, exhausted: false };

export type RestartDecision =
  | { readonly kind: "wait" }
  | { readonly kind: "scheduled"; readonly delay: number }
  | { readonly kind: "restart"; readonly attempt: number; readonly nextDelay: number }
  | { readonly kind: "exhausted"; readonly attempts: number };

/** What to do about a VM that should run and does not, seen at `now`. */
export function onExited(
  state: RestartState,
  policy: RestartPolicy,
  now: number,
): { state: RestartState; decision: RestartDecision } {
  const stopped = { ...state, runningSince: undefined };
  if (state.exhausted) return { state: stopped, decision: { kind: "wait" } };
  if (state.attempts >= policy.maxRetries) {
    return { state: { ...stopped, exhausted: true }, decision: { kind: "exhausted", attempts: state.attempts } };
  }
  if (state.nextAt === undefined) {
    return {
      state: { ...stopped, nextAt: now + policy.initialBackoff },
      decision: { kind: "scheduled", delay: policy.initialBackoff },
    };
  }
  if (now < state.nextAt) return { state: stopped, decision: { kind: "wait" } };
  const attempt = state.attempts + 1;
  const nextDelay = Math.min(policy.initialBackoff * 2 ** attempt, policy.maxBackoff);
  return {
    state: { ...stopped, attempts: attempt, nextAt: now + nextDelay },
    decision: { kind: "restart", attempt, nextDelay },
  };
}

/** A VM seen running at `now`: the count starts anew once it ran for the whole window. */
export function onRunning(
  state: RestartState,
  policy: RestartPolicy,
  now: number,
): { state: RestartState; reset: boolean } {
  if (state === FRESH) return { state, reset: false };
  const runningSince = state.runningSince ?? now;
  if (now - runningSince >= policy.resetWindow) return { state: FRESH, reset: true };
  return { state: { ...state, runningSince }, reset: false };
}
