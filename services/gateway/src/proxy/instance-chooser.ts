import type { Instance } from "../registration/instance.ts";
import type { Registry } from "../registration/registry.ts";

export type Choice =
  | { readonly kind: "instances"; readonly instances: readonly Instance[] }
  | { readonly kind: "unknown" }
  /** Registered, but none was heard of lately. */
  | { readonly kind: "unhealthy" };

export interface ChooserOptions {
  readonly registry: Pick<Registry, "get" | "ofApp" | "hasApp">;
  /** Unix seconds of the latest handshake with a key. */
  readonly latestHandshake: (publicKey: string) => number | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** How many candidates are raced; 0 takes one healthy instance at random. */
  readonly topN: number;
  readonly cacheMs: number;
  readonly staleMs: number;
  /** In [0, 1). */
  readonly random: () => number;
}

const MAX_CACHED_APPS = 10_000;

/** Picks the instances of an app by how recently their tunnel was heard of. */
export class InstanceChooser {
  readonly #options: ChooserOptions;
  readonly #cache = new Map<string, { readonly at: number; readonly ids: readonly string[] }>();

  constructor(options: ChooserOptions) {
    this.#options = options;
  }

  choose(id: string): Choice {
    const { registry, topN, cacheMs, now } = this.#options;
    const instance = registry.get(id);
    if (instance !== undefined) return { kind: "instances", instances: [instance] };
    if (!registry.hasApp(id)) return { kind: "unknown" };
    const cached = this.#cache.get(id);
    if (topN > 0 && cached !== undefined && now() - cached.at < cacheMs)
      return found(cached.ids.map((cachedId) => registry.get(cachedId)));
    const healthy = this.#healthy(registry.ofApp(id));
    if (healthy.length === 0) return { kind: "unhealthy" };
    if (topN === 0) return found([healthy[Math.floor(this.#options.random() * healthy.length)]]);
    const chosen = healthy.slice(0, topN);
    if (this.#cache.size >= MAX_CACHED_APPS) this.#cache.clear();
    this.#cache.set(id, { at: now(), ids: chosen.map((member) => member.instanceId) });
    return found(chosen);
  }

  /** Forgets the selection of an app whose instances changed. */
  drop(appId: string): void {
    this.#cache.delete(appId);
  }

  /** Youngest handshake first; the order of ids decides among equals. */
  #healthy(instances: readonly Instance[]): Instance[] {
    const { latestHandshake, now, staleMs } = this.#options;
    return instances
      .map((instance) => ({ instance, ageMs: ageMs(latestHandshake(instance.publicKey), now()) }))
      .filter((row) => row.ageMs < staleMs)
      .sort((a, b) => a.ageMs - b.ageMs)
      .map((row) => row.instance);
  }
}

/** A handshake in the future is one of now; none is infinitely old. */
const ageMs = (unixSeconds: number | undefined, nowMs: number): number =>
  unixSeconds === undefined ? Number.POSITIVE_INFINITY : Math.max(0, nowMs - unixSeconds * 1_000);

function found(instances: readonly (Instance | undefined)[]): Choice {
  const present = instances.filter((instance) => instance !== undefined);
  return present.length === 0 ? { kind: "unhealthy" } : { kind: "instances", instances: present };
}
