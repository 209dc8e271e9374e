/**
 * What a deployment would do, decided as a whole.
 * In: what a person asks (DeployRequest); the compose file, the guest image, the VMM's list, the policy (PlanPorts).
 * Out: a DeploymentPlan: exact manifest, machine, permission, disk, environment already encrypted to the app.
 * Everything that can fail without a VM fails here, with what to do next.
 * Never: a change of anything, here or anywhere else.
 */
import { equalBytes, toHex } from "@dstack/bytes";
import { appIdFromComposeHash, type AppCompose, type ParsedAppCompose } from "@dstack/compose";
import {
  findingText,
  lintManifest,
  type ComposeFile,
  type DigestResolver,
  type PinnedFile,
} from "@dstack/compose/docker";
import { FORECAST_LIMIT } from "@dstack/governance";
import type { EnvPair } from "@dstack/keys";
import type { vmm } from "@dstack/proto";
import type { VmmClient } from "../../clients/vmm-client.ts";
import { DEVELOPMENT_DEVICE_ID } from "../../local/development-device.ts";
import { CliError } from "../../terminal/errors.ts";
import type { AppPolicy } from "./app-policy.ts";
import { readComposeInput, type GatewayAnswer } from "./compose-input.ts";
import { forecastDisk, type DiskForecast } from "./data-disk.ts";
import { checkEnvironment, planEnvironment } from "./environment.ts";
import { machineOf, planMachine, portText, takenPort, type MachinePlan } from "./machine.ts";
import { manifestOfVm, planManifest } from "./manifest.ts";
import { planPermission, requireAllowed, type PermissionPlan } from "./permission.ts";
import type { DeployRequest } from "./request.ts";
import { notChecked, refuseOtherFileSystem, refuseWhatVmmRefuses, vmmRules } from "./vmm-rules.ts";
import { shellWord } from "../../terminal/shell-word.ts";

/** What a plan is made from. */
export interface PlanPorts {
  readonly vmm: VmmClient;
  readonly policy: AppPolicy;
  readonly digests: DigestResolver;
  /** The hash of a guest OS image of this host, hex. @throws CliError `not-found` */
  osImageHash(image: string): Promise<string>;
  /** The file system of the data disks that an image makes; undefined where it does not say. @throws CliError */
  imageStorageFs(image: string): Promise<string | undefined>;
  /** The environment, for the app alone to read. @throws CliError */
  encrypt(appId: string, pairs: readonly EnvPair[]): Promise<Uint8Array>;
}

export interface DeploymentPlan {
  readonly name: string;
  readonly appId: string;
  /** What will run: its bytes are what is measured. */
  readonly manifest: ParsedAppCompose;
  /** Images that were written with a tag, and the digest that is written now. */
  readonly pinned: PinnedFile["pinned"];
  readonly gateway: GatewayAnswer;
  readonly advice: readonly string[];
  readonly machine: MachinePlan;
  /** The version that would be replaced; undefined for a first deployment. */
  readonly existing: ExistingVersion | undefined;
  /** For the app alone to read; undefined where it stays as it is. */
  readonly encryptedEnv: Uint8Array | undefined;
  /** What the request did not name and the app keeps, for people. */
  readonly kept: readonly string[];
  /** What the VMM alone knows and may still refuse, for people. */
  readonly notChecked: readonly string[];
  readonly disk: DiskForecast;
  readonly permission: PermissionPlan;
}

export interface ExistingVersion {
  readonly vmId: string;
  readonly status: string;
  readonly manifest: ParsedAppCompose;
  /** Compose hash, hex, of the version that the VMM keeps of it, which an update makes it forget. */
  readonly earlier: string | undefined;
}

/** Reads and asks, and changes nothing. @throws CliError, RpcError for what cannot be deployed at all */
export async function planDeployment(request: DeployRequest, ports: PlanPorts): Promise<DeploymentPlan> {
  const { app, machine } = request;
  // What is being removed gives its name and its ports up.
  const vms = (await ports.vmm.list()).filter(({ status }) => status !== "removing");
  const vm = existingVm(request, vms);
  const present = vm === undefined ? undefined : presentManifest(vm);
  const machinePlan = planMachine(machine, vm === undefined ? undefined : machineOf(vm));
  refuseTakenPort(
    machinePlan,
    vms.filter((other) => other.id !== vm?.id),
  );
  refuseWhatVmmRefuses(app.name, machinePlan, await vmmRules(ports.vmm));
  const osImageHash = await ports.osImageHash(machinePlan.wanted.image);
  const environment = planEnvironment(app, present?.compose.allowedEnvs ?? []);
  if (environment.pairs !== undefined) checkEnvironment(environment.pairs);
  const compose = await readComposeInput(app.composeFile, {
    digests: ports.digests,
    allowMutable: app.allowMutable,
    variables: environment.allowedEnvs,
    values: new Map((environment.pairs ?? []).map(({ key, value }) => [key, value])),
    mayHaveMore: present?.compose.preLaunchScript !== undefined,
  });
  const { wanted, kept } = planManifest(app, compose.file.text, environment.allowedEnvs, present?.compose);
  const { image } = machinePlan.wanted;
  refuseOtherFileSystem(image, await ports.imageStorageFs(image), wanted.compose.storageFs);
  const disk = forecastDisk({
    wanted: wanted.compose,
    present: hasDisk(vm, present) ? present?.compose : undefined,
    isSameVersion: present !== undefined && equalBytes(present.bytes, wanted.bytes),
    isSameImage: machinePlan.present?.image === machinePlan.wanted.image,
  });
  const appId = vm?.appId ?? app.appId ?? toHex(appIdFromComposeHash(wanted.composeHash));
  const version = { osImageHash, deviceId: DEVELOPMENT_DEVICE_ID, appId, composeHash: toHex(wanted.composeHash) };
  const permission = await planPermission(version, request.permission, ports.policy);
  return {
    name: app.name,
    appId,
    manifest: wanted,
    pinned: compose.pinned,
    gateway: compose.gateway,
    advice: [...compose.advice, ...manifestAdvice(wanted.compose, compose.file)],
    machine: machinePlan,
    existing: vm === undefined || present === undefined ? undefined : await existingVersion(ports.vmm, vm, present),
    encryptedEnv: environment.pairs === undefined ? undefined : await ports.encrypt(appId, environment.pairs),
    kept: [...machinePlan.kept, ...environment.kept, ...kept],
    notChecked: [...(permission.decision?.kind === "allowed" ? [FORECAST_LIMIT] : []), ...notChecked(machinePlan)],
    disk,
    permission,
  };
}

const manifestAdvice = (manifest: AppCompose, file: ComposeFile): readonly string[] =>
  lintManifest({ manifest, file, sent: new Set(manifest.allowedEnvs) }).map(findingText);

/** Holds a plan to what its boot needs: a disk that opens, and permission. @throws CliError */
export function requireReady({ name, disk, permission }: DeploymentPlan): void {
  if (disk.opens === "no")
    throw new CliError("failed", `the data disk of ${name} would not open: ${disk.reason}`, {
      hint: `nothing was deployed; deploy it under another name, or give the data up first: dstack rm ${shellWord(name)}`,
    });
  requireAllowed(permission);
}

/** The one VM of that name. @throws CliError `usage` where it cannot be the one that is meant */
function existingVm({ app }: DeployRequest, vms: readonly vmm.VmInfo[]): vmm.VmInfo | undefined {
  const named = vms.filter((vm) => vm.name === app.name);
  const [vm] = named;
  if (named.length > 1)
    throw new CliError("usage", `${named.length} apps are named ${app.name}: ${named.map(({ id }) => id).join(", ")}`, {
      hint: "remove those that are not wanted by their VM id: dstack rm VM-ID",
    });
  if (vm !== undefined && app.appId !== undefined && app.appId !== vm.appId)
    throw new CliError("usage", `${app.name} is there already and is app ${vm.appId}, not ${app.appId}`, {
      hint: `take another name, or remove it first: dstack rm ${app.name}`,
    });
  return vm;
}

/** @throws CliError where it cannot be read: what an update has to keep is not known then */
function presentManifest(vm: vmm.VmInfo): ParsedAppCompose {
  const manifest = manifestOfVm(vm);
  if (manifest !== undefined) return manifest;
  throw new CliError(
    "failed",
    `the manifest of ${vm.name} cannot be read, so what an update has to keep is not known`,
    {
      hint: `nothing was deployed; take another name, or remove it with its data: dstack rm ${shellWord(vm.name)}`,
    },
  );
}

const existingVersion = async (
  client: VmmClient,
  { id, status }: vmm.VmInfo,
  manifest: ParsedAppCompose,
): Promise<ExistingVersion> => ({
  vmId: id,
  status,
  manifest,
  earlier: (await client.previousVersion(id))?.composeHash,
});

/** A guest that came as far as its disk told the host its instance id; of an app without such ids nobody knows. */
const hasDisk = (vm: vmm.VmInfo | undefined, present: ParsedAppCompose | undefined): boolean =>
  vm !== undefined && ((vm.instanceId ?? "") !== "" || present?.compose.noInstanceId === true);

function refuseTakenPort(machine: MachinePlan, others: readonly vmm.VmInfo[]): void {
  const taken = takenPort(machine.wanted.ports, others);
  if (taken !== undefined)
    throw new CliError("failed", `port ${portText(taken.port)} is mapped to ${taken.by} already`, {
      hint: "nothing was deployed; take another host port with -p",
    });
}
