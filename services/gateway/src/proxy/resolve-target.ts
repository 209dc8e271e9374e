import { setTimeout as sleep } from "node:timers/promises";
import { formatIpv4 } from "@dstack/wireguard";
import type { Instance } from "../registration/instance.ts";
import { allowsPort } from "../registration/port-policy.ts";
import type { Registry } from "../registration/registry.ts";
import type { AppAddress } from "./app-address.ts";
import type { Choice, InstanceChooser } from "./instance-chooser.ts";
import type { PolicySource } from "./policy-source.ts";
import type { ProxyCounters, Outcome } from "./proxy-counters.ts";
import type { Explanation } from "./http-answers.ts";

export interface Backend {
  readonly host: string;
  readonly port: number;
  readonly instanceId: string;
  /** Whether the app's policy asks for a PROXY header on this port. */
  readonly proxyHeader: boolean;
}

export type Resolution =
  | { readonly kind: "backends"; readonly backends: readonly Backend[] }
  | { readonly kind: "refused"; readonly outcome: Outcome; readonly explanation: Explanation };

export interface ResolverOptions {
  readonly registry: Pick<Registry, "get" | "ofApp">;
  readonly chooser: InstanceChooser;
  readonly policies: Pick<PolicySource, "fetch">;
  /** Reads handshakes again: a CVM that registered a moment ago is not in the last reading. */
  readonly refreshHandshakes: () => Promise<void>;
  /** Whether an instance's first handshake is still to be expected: it, or this gateway, is that new. */
  readonly isSettling: (instance: Instance) => boolean;
  /** Milliseconds. */
  readonly now: () => number;
  readonly counters: ProxyCounters;
  readonly maxConnectionsPerApp: number;
  readonly connectTimeoutMs: number;
  /** App id `localhost` means this host, any port. */
  readonly localhostBackend: boolean;
}

/** From an address to where it may be connected, or why it may not. */
export async function resolveTarget(address: AppAddress, options: ResolverOptions): Promise<Resolution> {
  const { id, port } = address;
  if (options.localhostBackend && id === "localhost")
    return { kind: "backends", backends: [{ host: "127.0.0.1", port, instanceId: id, proxyHeader: false }] };
  const choice = await chooseOrWait(id, options);
  if (choice.kind === "unknown") return refused("unknown-app", 404, `no app or instance "${id}" is registered here`);
  if (choice.kind === "unhealthy")
    return refused("no-healthy-instance", 503, `no healthy instance for ${id}: none of its CVMs was heard of lately`);
  const known = await withPolicies(choice.instances, options);
  const allowed = known.filter(
    (instance) => instance.portPolicy !== undefined && allowsPort(instance.portPolicy, port),
  );
  if (allowed.length === 0) {
    const why = known.every((instance) => instance.portPolicy === undefined) ? " (its policy is not known yet)" : "";
    return refused(
      "port-denied",
      403,
      `port ${port} denied by app port policy for ${id} (${known.length} candidate(s))${why}`,
    );
  }
  const open = allowed.reduce((sum, instance) => sum + options.counters.connections(instance.instanceId), 0);
  if (options.maxConnectionsPerApp > 0 && open >= options.maxConnectionsPerApp) {
    return refused("over-limit", 503, `app connection limit exceeded: ${open}/${options.maxConnectionsPerApp}`);
  }
  return {
    kind: "backends",
    backends: allowed.map((instance) => ({
      host: formatIpv4(instance.address),
      port,
      instanceId: instance.instanceId,
      proxyHeader: instance.portPolicy?.ports.get(port) ?? false,
    })),
  };
}

const POLL_MS = 100;

/** The choice; where nobody was heard of, after another look, and for newcomers after waiting up to the time for connecting. */
async function chooseOrWait(id: string, options: ResolverOptions): Promise<Choice> {
  const { chooser, registry, now } = options;
  const deadline = now() + options.connectTimeoutMs;
  let choice = chooser.choose(id);
  while (choice.kind === "unhealthy") {
    await options.refreshHandshakes();
    choice = chooser.choose(id);
    if (choice.kind !== "unhealthy" || now() >= deadline || !registry.ofApp(id).some(options.isSettling)) break;
    await sleep(POLL_MS);
  }
  return choice;
}

/** Waits, within the time for connecting, for policies that are being asked for. */
async function withPolicies(instances: readonly Instance[], options: ResolverOptions): Promise<readonly Instance[]> {
  const unknown = instances.filter((instance) => instance.portPolicy === undefined);
  if (unknown.length === 0) return instances;
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, options.connectTimeoutMs);
  });
  await Promise.race([Promise.all(unknown.map((instance) => options.policies.fetch(instance))), deadline]);
  clearTimeout(timer);
  return instances.map((instance) => options.registry.get(instance.instanceId) ?? instance);
}

const refused = (outcome: Outcome, status: number, text: string): Resolution => ({
  kind: "refused",
  outcome,
  explanation: { status, text },
});
