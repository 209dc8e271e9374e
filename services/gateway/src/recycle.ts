import type { Instance } from "./registration/instance.ts";

/**
 * Instances that nobody heard of for `timeoutMs`. `startedAt` counts as a sign of life: after a
 * restart of the gateway no handshake is known yet.
 */
export function staleInstances(
  instances: readonly Instance[],
  options: {
    readonly nowMs: number;
    readonly startedAtMs: number;
    readonly timeoutMs: number;
    readonly latestHandshake: (publicKey: string) => number | undefined;
  },
): Instance[] {
  const { nowMs, startedAtMs, timeoutMs, latestHandshake } = options;
  return instances.filter((instance) => {
    const last = Math.max(
      instance.registeredAt * 1_000,
      startedAtMs,
      (latestHandshake(instance.publicKey) ?? 0) * 1_000,
    );
    return nowMs - last > timeoutMs;
  });
}
