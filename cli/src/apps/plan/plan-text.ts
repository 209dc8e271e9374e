import { utf8Decode } from "@dstack/bytes";
import { visible } from "../../terminal/output.ts";
import { portText } from "./machine.ts";
import { diffManifests, type ManifestDiff } from "./manifest-diff.ts";
import type { DeploymentPlan } from "./plan.ts";
import { stepsOf, stepsWhenItRuns } from "./steps.ts";

/** How a command ends that shows this plan: 3 where the policy denies it, 1 where it would fail otherwise. */
export function exitCodeOf({ permission: { decision }, disk }: DeploymentPlan): number {
  if (decision?.kind === "denied") return 3;
  return decision?.kind === "no-answer" || disk.opens === "no" ? 1 : 0;
}

/** A plan for scripts; members are added, never changed. */
export function planJson(plan: DeploymentPlan): object {
  const { manifest, machine, permission, disk, existing } = plan;
  const { decision } = permission;
  const diff = diffOf(plan);
  return {
    dry_run: true,
    name: plan.name,
    app_id: plan.appId,
    compose_hash: permission.version.composeHash,
    manifest: utf8Decode(manifest.bytes, "manifest"),
    manifest_bytes: manifest.bytes.length,
    os_image_hash: permission.version.osImageHash,
    updates:
      existing === undefined
        ? null
        : {
            vm_id: existing.vmId,
            status: existing.status,
            first_byte: diff?.firstByte ?? null,
            bytes: diff?.bytesBefore ?? null,
            diff: diff?.lines ?? null,
          },
    steps: [...stepsOf(plan), ...stepsWhenItRuns(plan)].map(({ kind }) => kind),
    pinned: plan.pinned,
    kept: plan.kept,
    image: machine.wanted.image,
    vcpu: machine.wanted.vcpu,
    memory_mib: machine.wanted.memoryMib,
    disk_gib: machine.wanted.diskGib,
    host_ports: machine.wanted.ports.map(({ protocol, hostAddress, hostPort, vmPort }) => ({
      protocol,
      host_address: hostAddress,
      host_port: hostPort,
      vm_port: vmPort,
    })),
    gateway_ports: plan.gateway.ports,
    gateway_notes: plan.gateway.notes,
    variables: manifest.compose.allowedEnvs,
    disk: {
      opens: disk.opens,
      reason: disk.reason,
      key_provider: manifest.compose.keyProvider,
      key_shared: disk.isKeyShared,
    },
    policy_changes: permission.differences,
    allowed: decision === undefined ? null : decision.kind === "allowed",
    decision: decision ?? null,
    not_checked: plan.notChecked,
    advice: plan.advice,
  };
}

/** A plan for people. */
export function planText(plan: DeploymentPlan): string {
  const { machine, permission, disk, manifest, existing } = plan;
  const { wanted } = machine;
  const rows: readonly (readonly [string, string])[] = [
    ["would", existing === undefined ? "create a VM" : `update VM ${existing.vmId}, which is ${existing.status}`],
    [
      "steps",
      [...stepsOf(plan), ...stepsWhenItRuns(plan)].map(({ kind }) => kind).join(", ") || "none: all is so already",
    ],
    ["app id", plan.appId],
    ["compose hash", permission.version.composeHash],
    ["image", `${wanted.image} (${permission.version.osImageHash})`],
    ["size", `${wanted.vcpu} vCPU, ${wanted.memoryMib} MiB memory, ${wanted.diskGib} GiB disk`],
    ["host ports", wanted.ports.map(portText).join(", ") || "none"],
    ["gateway", plan.gateway.ports.map((port) => `port ${port}`).join(", ") || "reaches no port"],
    ...plan.gateway.notes.map((note) => ["", note] as const),
    ["variables", manifest.compose.allowedEnvs.join(", ") || "none"],
    ...(plan.kept.length === 0 ? [] : [["not given", `and kept: ${plan.kept.join("; ")}`] as const]),
    ["disk", `${DISK[disk.opens]}: ${disk.reason}`],
    [
      "its key",
      disk.isKeyShared ? "is shared by all instances of the app (no_instance_id)" : "is this instance's alone",
    ],
    ...permission.differences.map(({ sign, path, value }) => [`policy ${sign}`, `${path} ${value}`] as const),
    ["allowed", allowedText(plan)],
    ...plan.notChecked.map((text) => ["not checked", text] as const),
    ...plan.pinned.map(({ from, to }) => ["pinned", `${from} to ${to}`] as const),
    ...plan.advice.map((text) => ["advice", text] as const),
  ];
  const head = rows.map(([name, text]) => `${name.padEnd(14)}${visible(text)}`);
  return [...head, ...manifestLines(plan).map(visible)].join("\n");
}

const DISK = { new: "new", yes: "opens", no: "would not open" } as const;

function allowedText({ permission: { decision, allows, differences } }: DeploymentPlan): string {
  switch (decision?.kind) {
    case undefined:
      return "not asked";
    case "allowed": {
      const { rule, by } = decision;
      const whose = rule === "" ? by : `${rule} of ${by}`;
      return `yes, ${allows && differences.length > 0 ? "with the changes above" : "as the policy is"}: ${whose}`;
    }
    case "no-answer":
      return `not known: ${decision.reason}`;
    case "denied": {
      const why = decision.rule === "" ? "" : ` (rule ${decision.rule}, field ${decision.field})`;
      return `no: ${decision.reason}${why}${decision.command === undefined ? "" : `; to allow it: ${decision.command}`}`;
    }
  }
}

/** The difference to what runs; the whole manifest where nothing does. */
function manifestLines(plan: DeploymentPlan): readonly string[] {
  const diff = diffOf(plan);
  const { bytes } = plan.manifest;
  if (diff === undefined)
    return [
      `manifest      ${bytes.length} bytes`,
      ...utf8Decode(bytes, "manifest")
        .split("\n")
        .map((line) => `  ${line}`),
    ];
  if (diff.firstByte === undefined) return [`manifest      ${bytes.length} bytes, the same as now`];
  return [
    `manifest      ${diff.bytesAfter} bytes, now ${diff.bytesBefore}; the first that differs is byte ${diff.firstByte}`,
    ...diff.lines.map((line) => `  ${line}`),
  ];
}

const diffOf = ({ existing, manifest }: DeploymentPlan): ManifestDiff | undefined =>
  existing === undefined ? undefined : diffManifests(existing.manifest, manifest);
