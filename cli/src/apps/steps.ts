import { equalBytes } from "@dstack/bytes";
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
  /** Takes a version off the policy, unless an instance that exists still has it. */
  | { readonly kind: "withdraw"; readonly version: "old" | "new" };

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
  const compose = existing?.manifest === undefined || !equalBytes(existing.manifest.bytes, manifest.bytes);
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
  const runs = isUp(existing.status);
  const stop: readonly Step[] = runs ? [{ kind: "stop", force: false }] : [];
  if (!changes.version && changes.machine === undefined)
    return [...allow, ...(runs ? [] : [{ kind: "start" } as const])];
  return changes.machine?.needsStop === true
    ? [...allow, ...stop, { kind: "update" }, { kind: "start" }]
    : [...allow, { kind: "update" }, ...stop, { kind: "start" }];
}

/** What is done once the new version runs. Pure. */
export function stepsWhenItRuns(plan: DeploymentPlan): readonly Step[] {
  const isReplaced = plan.existing?.manifest !== undefined && changesOf(plan).compose;
  return plan.permission.allows && isReplaced ? [{ kind: "withdraw", version: "old" }] : [];
}

/**
 * How the version comes back that was there, where the new one does not boot; none where nothing was there. It is
 * started where it ran before. Pure.
 */
export function stepsBack(plan: DeploymentPlan): readonly Step[] {
  const { existing, permission } = plan;
  const changes = changesOf(plan);
  if (existing === undefined || (!changes.version && changes.machine === undefined)) return [];
  return [
    { kind: "stop", force: true },
    { kind: "put-back" },
    ...(isUp(existing.status) ? [{ kind: "start" } as const] : []),
    ...withdrawNew(permission),
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
      return withdrawNew(plan.permission);
    case "update":
      // The VMM checks an update as a whole before it makes any of it.
      return [...(did("stop") ? [{ kind: "start" } as const] : []), ...withdrawNew(plan.permission)];
    case "stop":
      // Updated and not stopped: the old version still runs, and the next start is the new one's.
      return did("update") ? [] : withdrawNew(plan.permission);
    case "start":
      return rollBack ? stepsBack(plan) : [];
    default:
      return [];
  }
}

const withdrawNew = ({ allows, isNew }: DeploymentPlan["permission"]): readonly Step[] =>
  allows && isNew ? [{ kind: "withdraw", version: "new" }] : [];
