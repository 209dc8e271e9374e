import { equalBytes, toHex } from "@dstack/bytes";
import { machineChanges } from "./machine.ts";
import type { DeploymentPlan } from "./plan.ts";

/** One thing that changes something. */
export type Step =
  /** Adds the new version to the policy: before the boot that needs it. */
  | { readonly kind: "allow" }
  | { readonly kind: "create" }
  | { readonly kind: "update" }
  | { readonly kind: "stop"; readonly force: boolean }
  | { readonly kind: "start" }
  /** Puts compose file, environment and machine of the version back that was there before. */
  | { readonly kind: "put-back" }
  /** Takes versions off the policy, but none that an instance that exists still has. */
  | { readonly kind: "withdraw"; readonly hashes: readonly string[] };

/** VM states in which a guest runs, or is about to. */
export const isUp = (status: string): boolean => ["running", "starting", "stopping"].includes(status);

/** What an update changes. */
export interface Changes {
  /** Compose file or environment: what the VMM keeps one earlier version of. */
  readonly version: boolean;
  readonly compose: boolean;
  readonly machine: ReturnType<typeof machineChanges>;
}

export function changesOf({ existing, manifest, machine, encryptedEnv }: DeploymentPlan): Changes {
  const compose = existing === undefined || !equalBytes(existing.manifest.bytes, manifest.bytes);
  return {
    compose,
    version: compose || encryptedEnv !== undefined,
    machine: machine.present === undefined ? undefined : machineChanges(machine.wanted, machine.present),
  };
}

/**
 * From what is to what is wanted. The VM is changed while the old version still runs where the VMM allows it, so
 * that a refused update stops nothing. Pure.
 */
export function stepsOf(plan: DeploymentPlan): readonly Step[] {
  const { existing, permission } = plan;
  const allow: readonly Step[] = permission.differences.length > 0 ? [{ kind: "allow" }] : [];
  if (existing === undefined) return [...allow, { kind: "create" }];
  const changes = changesOf(plan);
  const before = [...allow, ...(changes.version ? withdrawing(plan, [leftOver(plan)]) : [])];
  const runs = isUp(existing.status);
  const stop: readonly Step[] = runs ? [{ kind: "stop", force: false }] : [];
  if (!changes.version && changes.machine === undefined)
    return [...allow, ...(runs ? [] : [{ kind: "start" } as const])];
  return changes.machine?.needsStop === true
    ? [...before, ...stop, { kind: "update" }, { kind: "start" }]
    : [...before, { kind: "update" }, ...stop, { kind: "start" }];
}

/** What is done once the new version runs: the one that it replaced goes, by this deployment or by an earlier one. Pure. */
export function stepsWhenItRuns(plan: DeploymentPlan): readonly Step[] {
  const { compose, version } = changesOf(plan);
  if (compose) return withdrawing(plan, [versionOf(plan)]);
  return version ? [] : withdrawing(plan, [leftOver(plan)]);
}

/**
 * How the version comes back that was there, where the new one does not boot; none where nothing was there. It is
 * started unless somebody had stopped it: one that ended by itself is meant to run. Pure.
 */
export function stepsBack(plan: DeploymentPlan): readonly Step[] {
  const { existing } = plan;
  const changes = changesOf(plan);
  if (existing === undefined || (!changes.version && changes.machine === undefined)) return [];
  return [
    { kind: "stop", force: true },
    { kind: "put-back" },
    ...(existing.status === "stopped" ? [] : [{ kind: "start" } as const]),
    ...withdrawing(plan, [newVersion(plan)]),
  ];
}

/** What undoes the steps that were done, where one fails before the new version runs. Pure. */
export function stepsToUndo(
  plan: DeploymentPlan,
  done: readonly Step[],
  failed: Step,
  rollBack: boolean,
): readonly Step[] {
  const did = (kind: Step["kind"]): boolean => done.some((step) => step.kind === kind);
  switch (failed.kind) {
    case "create":
    case "withdraw":
      return withdrawing(plan, [newVersion(plan)]);
    case "update":
      // The VMM checks an update as a whole before it makes any of it.
      return [...(did("stop") ? [{ kind: "start" } as const] : []), ...withdrawing(plan, [newVersion(plan)])];
    case "stop":
      // Updated and not stopped: the old version still runs, and the next start is the new one's.
      return did("update") ? [] : withdrawing(plan, [newVersion(plan)]);
    case "start":
      return rollBack ? stepsBack(plan) : [];
    default:
      return [];
  }
}

/** Compose hash, hex, of the version that was there. */
export const versionOf = ({ existing }: DeploymentPlan): string | undefined =>
  existing === undefined ? undefined : toHex(existing.manifest.composeHash);

/** The new version where this deployment is who allows it. */
const newVersion = ({ permission: { allowedNow, version } }: DeploymentPlan): string | undefined =>
  allowedNow.includes(version.composeHash) ? undefined : version.composeHash;

/** What the VMM keeps, still allowed: nobody waited for the outcome that would have withdrawn it. */
function leftOver(plan: DeploymentPlan): string | undefined {
  const { existing, permission } = plan;
  const earlier = existing?.earlier;
  const isWanted = earlier === permission.version.composeHash || earlier === versionOf(plan);
  return earlier === undefined || isWanted || !permission.allowedNow.includes(earlier) ? undefined : earlier;
}

function withdrawing({ permission }: DeploymentPlan, versions: readonly (string | undefined)[]): readonly Step[] {
  const hashes = versions.filter((hash) => hash !== undefined);
  return permission.allows && hashes.length > 0 ? [{ kind: "withdraw", hashes }] : [];
}
