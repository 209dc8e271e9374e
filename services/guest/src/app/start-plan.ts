import type { AppVersion } from "./last-app.ts";

/** What a boot does with that which earlier boots left in Docker. */
export interface StartPlan {
  /** Another version ran last, or nobody knows which: nothing of its containers may run as they are. */
  readonly isChange: boolean;
  /** What is not of the present project goes before the app starts. */
  readonly clears: boolean;
  /** All images go, so that a registry is asked for them anew: the version before could have changed what they hold. */
  readonly refetches: boolean;
  /** What the app itself had started comes back by its restart policy. */
  readonly revives: boolean;
}

/** @param last the version that ran last, undefined where that is not known */
export function planStart(last: AppVersion | undefined, present: AppVersion): StartPlan {
  const isChange = last?.composeHash !== present.composeHash;
  return {
    isChange,
    // A version without powers over Docker can have started nothing, whatever the record says.
    clears: isChange || !present.mayLeaveBehind,
    refetches: isChange && (last === undefined || last.mayLeaveBehind),
    revives: !isChange && present.mayLeaveBehind,
  };
}
