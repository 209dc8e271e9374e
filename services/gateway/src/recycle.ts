import type { OpenGateway } from "./open-gateway.ts";
import type { Instance } from "./registration/instance.ts";

/** The longest that a timer of Node waits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Forgets instances that are gone, every now and then, as the configuration has it. Returns how to stop. */
export function startRecycling({ config, registrations, tunnel, startedAtMs, now, log }: OpenGateway): () => void {
  const { enabled, interval, timeout: timeoutMs } = config.raw.core.recycle;
  if (!enabled || !Number.isFinite(timeoutMs)) return () => undefined;
  const sweep = async (): Promise<void> => {
    await tunnel.refresh();
    registrations.remove(
      staleInstances(registrations.registry.all(), {
        nowMs: now(),
        startedAtMs,
        timeoutMs,
        latestHandshake: (key) => tunnel.latestHandshake(key),
      }),
    );
  };
  const timer = setInterval(
    () => {
      sweep().catch((error: unknown) =>
        log.error({ error: (error as Error).message }, "instances that are gone could not be forgotten"),
      );
    },
    Math.min(interval, MAX_TIMER_MS),
  );
  return () => clearInterval(timer);
}

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
