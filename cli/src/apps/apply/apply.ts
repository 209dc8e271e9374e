/**
 * Does what a plan says.
 * In: a DeploymentPlan; the VMM and the policy that it is done with.
 * Out: a VM that starts with the new version, which the policy allows beside the one that ran; or a CliError that
 * says what the failure left behind and the command that goes on. Later, once the outcome is known: the old version
 * withdrawn, or put back.
 * Never: a version taken off the policy that an instance still has; a step that is not in `steps.ts`.
 */
import { errorChain } from "@dstack/errors";
import type { PolicyLine } from "@dstack/governance";
import { utf8Decode } from "@dstack/bytes";
import { allowVersion } from "../../auth/policy-file.ts";
import { vmmMethods, type VmmClient } from "../../clients/vmm-client.ts";
import { CliError } from "../../terminal/errors.ts";
import { shellWord } from "../../terminal/shell-word.ts";
import type { AppPolicy } from "../plan/app-policy.ts";
import { machineChanges } from "../plan/machine.ts";
import type { DeploymentPlan } from "../plan/plan.ts";
import { changesOf, stepsBack, stepsOf, stepsToUndo, stepsWhenItRuns, versionOf, type Step } from "../plan/steps.ts";
import { stopVm } from "./stop-vm.ts";
import { withdraw } from "./withdraw.ts";

export interface ApplyPorts {
  readonly vmm: VmmClient;
  readonly policy: AppPolicy;
  /** Talk on the way. */
  readonly say: (text: string) => void;
}

export interface ApplyOptions {
  /** Whether the version that was there comes back where the new one does not start. */
  readonly rollBack: boolean;
  /** Ends the work between two steps. */
  readonly signal?: AbortSignal | undefined;
}

/** A plan that was done. */
export interface Deployment {
  readonly plan: DeploymentPlan;
  readonly vmId: string;
  /** What the policy was changed by. */
  readonly policyChanges: readonly PolicyLine[];
}

/**
 * Allows the version, then creates or updates and starts its VM. What a failed step leaves behind is undone where
 * that is safe, and said.
 * @throws CliError
 */
export async function applyDeployment(
  plan: DeploymentPlan,
  ports: ApplyPorts,
  { rollBack, signal }: ApplyOptions,
): Promise<Deployment> {
  const work = newWork(plan, ports);
  const done: Step[] = [];
  for (const step of stepsOf(plan)) {
    try {
      signal?.throwIfAborted();
      await execute(step, work);
      done.push(step);
    } catch (cause) {
      const undo = stepsToUndo(plan, done, step, rollBack);
      const hint = joined([leftBehind(step, done, undo, plan), await attempt(undo, work)]);
      throw new CliError(codeOf(cause), `${plan.name}: ${WHAT[step.kind]} failed`, { cause, hint });
    }
  }
  return { plan, vmId: work.vmId ?? "", policyChanges: work.policyChanges };
}

/** After the new version runs: the one that it replaced may no longer boot. @throws CliError */
export async function finishDeployment({ plan, vmId }: Deployment, ports: ApplyPorts): Promise<void> {
  const work = { ...newWork(plan, ports), vmId };
  for (const step of stepsWhenItRuns(plan)) {
    try {
      await execute(step, work);
    } catch (cause) {
      throw new CliError(codeOf(cause), `${plan.name} runs its new version, and the old one is still allowed`, {
        cause,
        hint: `to withdraw it: dstack auth deny compose 0x${versionOf(plan) ?? ""} --app 0x${plan.appId}`,
      });
    }
  }
}

/** Puts the version back that was there before. Gives what was done, for people; undefined where there was none. */
export async function undoDeployment({ plan, vmId }: Deployment, ports: ApplyPorts): Promise<string | undefined> {
  const steps = stepsBack(plan);
  if (steps.length === 0) return undefined;
  const trouble = await attempt(steps, { ...newWork(plan, ports), vmId });
  return trouble === "" ? backText(plan, steps) : trouble;
}

interface Work {
  readonly plan: DeploymentPlan;
  readonly ports: ApplyPorts;
  vmId: string | undefined;
  readonly policyChanges: PolicyLine[];
}

const newWork = (plan: DeploymentPlan, ports: ApplyPorts): Work => ({
  plan,
  ports,
  vmId: plan.existing?.vmId,
  policyChanges: [],
});

/** Each kind of step for people, as the subject of "failed". */
const WHAT: Readonly<Record<Step["kind"], string>> = {
  allow: "allowing the new version",
  create: "creating the VM",
  update: "updating the VM",
  stop: "stopping the VM",
  start: "starting the VM",
  "put-back": "putting the earlier version back",
  withdraw: "withdrawing a version",
};

async function execute(step: Step, work: Work): Promise<void> {
  const { plan, ports } = work;
  const { vmm, policy } = ports;
  switch (step.kind) {
    case "allow":
      work.policyChanges.push(...(await policy.change((document) => allowVersion(document, plan.permission.version))));
      return;
    case "create":
      work.vmId = (await vmm.call(vmmMethods.createVm, creationOf(plan))).id;
      return;
    case "update":
      await vmm.call(vmmMethods.updateVm, { id: idOf(work), ...updateOf(plan) });
      return;
    case "stop":
      return stopVm(vmm, idOf(work), { force: step.force, say: ports.say });
    case "start":
      await vmm.call(vmmMethods.startVm, { id: idOf(work) });
      return;
    case "put-back":
      return putBack(work);
    case "withdraw":
      await withdraw(ports, plan.appId, step.hashes);
      return;
  }
}

const idOf = ({ vmId }: Work): string => {
  if (vmId === undefined) throw new CliError("failed", "there is no VM yet");
  return vmId;
};

function creationOf({ name, appId, manifest, machine: { wanted }, encryptedEnv }: DeploymentPlan) {
  return {
    name,
    appId,
    composeFile: utf8Decode(manifest.bytes, "manifest"),
    image: wanted.image,
    vcpu: wanted.vcpu,
    memory: wanted.memoryMib,
    diskSize: wanted.diskGib,
    ports: wanted.ports.map((port) => ({ ...port })),
    encryptedEnv: encryptedEnv ?? new Uint8Array(),
    simulatedTee: "dstack-tdx",
  };
}

/** App id, instance id and disk stay, and with them the app's keys and data. */
function updateOf(plan: DeploymentPlan) {
  const { compose, machine } = changesOf(plan);
  return {
    ...(compose ? { composeFile: utf8Decode(plan.manifest.bytes, "manifest") } : {}),
    ...(plan.encryptedEnv === undefined ? {} : { encryptedEnv: plan.encryptedEnv }),
    ...machine?.fields,
  };
}

/**
 * The VMM keeps one earlier version, machine included; it must be the one that ran when this deployment began. A
 * machine that alone was changed is none, and is changed back. A disk stays grown.
 */
async function putBack(work: Work): Promise<void> {
  const { plan, ports } = work;
  const id = idOf(work);
  if (changesOf(plan).version) {
    const kept = (await ports.vmm.previousVersion(id))?.composeHash;
    if (kept !== versionOf(plan))
      throw new CliError(
        "failed",
        `the VMM keeps version ${kept ?? "(none)"} of it, not ${versionOf(plan) ?? "(unknown)"}`,
      );
    await ports.vmm.rollBack(id);
    return;
  }
  const { wanted, present } = plan.machine;
  const back = present === undefined ? undefined : machineChanges(present, wanted);
  if (back !== undefined) await ports.vmm.call(vmmMethods.updateVm, { id, ...back.fields });
}

/** Does what it can, each step on its own. Gives what went wrong, for people; "" where nothing did. */
async function attempt(steps: readonly Step[], work: Work): Promise<string> {
  for (const step of steps) {
    try {
      await execute(step, work);
    } catch (error) {
      return joined([`${WHAT[step.kind]} failed too (${errorChain(error)})`, nextCommand(step, work.plan)]);
    }
  }
  return "";
}

/** What a failed step leaves, given that the steps of `undo` succeed. */
function leftBehind(failed: Step, done: readonly Step[], undo: readonly Step[], plan: DeploymentPlan): string {
  const { existing } = plan;
  const name = shellWord(plan.name);
  const updated = done.some(({ kind }) => kind === "update");
  if (existing === undefined || !updated)
    return existing === undefined ? "nothing was deployed" : `${plan.name} is the version that it was`;
  if (undo.length > 0) return backText(plan, undo);
  const left =
    failed.kind === "stop"
      ? `the old version still runs and the new one starts with its next start; to go on: dstack stop -f ${name}, then dstack start ${name}`
      : `the new version is in place and does not run; to try again: dstack start ${name}`;
  return joined([left, wayBack(plan)]);
}

const backText = ({ name }: DeploymentPlan, steps: readonly Step[]): string =>
  `the version of ${name} that was there before is back${steps.some(({ kind }) => kind === "start") ? " and starts again" : ""}`;

/** The command that undoes a deployment, for people; "" where a machine alone was changed, which no command knows of. */
export function wayBack(plan: DeploymentPlan): string {
  if (plan.existing === undefined) return `to remove it: dstack rm ${shellWord(plan.name)}`;
  return changesOf(plan).version ? `to go back: dstack rollback ${shellWord(plan.name)}` : "";
}

function nextCommand(step: Step, plan: DeploymentPlan): string {
  const name = shellWord(plan.name);
  switch (step.kind) {
    case "put-back":
      return wayBack(plan);
    case "start":
      return `to start it: dstack start ${name}`;
    case "stop":
      return joined([`to stop it: dstack stop -f ${name}`, wayBack(plan)]);
    default:
      return `to withdraw it: dstack auth deny compose 0x${plan.permission.version.composeHash} --app 0x${plan.appId}`;
  }
}

const joined = (texts: readonly string[]): string => texts.filter((text) => text !== "").join("; ");

const codeOf = (cause: unknown): "failed" | "denied" | "usage" | "not-found" =>
  cause instanceof CliError ? cause.code : "failed";
