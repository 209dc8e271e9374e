import { equalBytes, toHex, utf8 } from "@dstack/bytes";
import { appIdFromComposeHash, parseAppCompose } from "@dstack/compose";
import { errorChain } from "@dstack/errors";
import { readIfExists } from "@dstack/files";
import type { vmm } from "@dstack/proto";
import { VmmError } from "../errors.ts";
import { growDisk } from "../launch/guest-disk.ts";
import { loadGuestImage } from "../launch/guest-image.ts";
import { encodeKeptVersion } from "../vm/app-version.ts";
import { checkImageName, encodeManifest, type Manifest } from "../vm/manifest.ts";
import type { FileChange } from "../vm/replace-files.ts";
import { resolveNetwork } from "../launch/networks.ts";
import { resolvePorts } from "../launch/port-mapping.ts";
import {
  checkImageFits,
  checkPortsAgainst,
  checkResources,
  checkUrls,
  readCompose,
  refuseDeadPorts,
} from "./vm-request.ts";
import { liveOf, type Vm } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

/** An UpdateVm request without what protobuf adds to it. */
export type UpdateRequest = {
  readonly [
    K in
      | "id"
      | "composeFile"
      | "encryptedEnv"
      | "userConfig"
      | "updatePorts"
      | "ports"
      | "updateKmsUrls"
      | "kmsUrls"
      | "updateGatewayUrls"
      | "gatewayUrls"
      | "updateNetworking"
      | "networks"
  ]: vmm.UpdateVmRequest[K];
} & {
  readonly [K in "gpus" | "vcpu" | "memory" | "diskSize" | "image" | "noTee"]?: vmm.UpdateVmRequest[K] | undefined;
};

/** Changes nothing. */
export const NO_UPDATE: UpdateRequest = {
  id: "",
  composeFile: "",
  encryptedEnv: new Uint8Array(),
  userConfig: "",
  updatePorts: false,
  ports: [],
  updateKmsUrls: false,
  kmsUrls: [],
  updateGatewayUrls: false,
  gatewayUrls: [],
  updateNetworking: false,
  networks: [],
};

/** What becomes of one of a VM's files. */
type FilePlan =
  | { readonly kind: "keep" }
  | { readonly kind: "write"; readonly data: Uint8Array }
  | { readonly kind: "remove" };

export interface UpdatePlan {
  readonly manifest: Manifest;
  readonly compose: FilePlan;
  readonly encryptedEnv: FilePlan;
  readonly userConfig: FilePlan;
  /** New size of an existing disk. */
  readonly growToGb: number | undefined;
  /** Whether what is there now becomes the previous version: app or secrets are other ones. */
  readonly replacesVersion: boolean;
  /** First 20 bytes of the new compose hash in hex, or "". */
  readonly composeId: string;
  /** What changes, for the log. */
  readonly parts: readonly string[];
}

/** Checks every part before any is applied. @throws VmmError */
export async function planUpdate(
  vm: Vm,
  request: UpdateRequest,
  config: VmmConfig,
  others: readonly Vm[],
): Promise<UpdatePlan> {
  if (vm.state.kind === "broken") throw new VmmError("vm-broken", `VM ${vm.id} cannot be updated: ${vm.state.reason}`);
  if (request.gpus !== undefined && (request.gpus.gpus.length > 0 || request.gpus.attachMode === "all"))
    throw new VmmError("unsupported", "GPU is not enabled");
  const resources = resourcesOf(vm, request);
  const networks = request.updateNetworking
    ? request.networks.map((network) => resolveNetwork(network, config.cvm.networking))
    : vm.manifest.networks;
  const ports = request.updatePorts ? resolvePorts(request.ports, config.cvm.portMapping) : vm.manifest.port_map;
  if (request.updatePorts) checkPortsAgainst(ports, others);
  refuseDeadPorts(ports, networks.length > 0 ? networks : [config.cvm.networking]);
  const compose = request.composeFile === "" ? undefined : readCompose(request.composeFile);
  const before = await vm.folder.readCompose();
  if (compose !== undefined && before === undefined) throw new VmmError("not-found", `The instance ${vm.id} not found`);
  const manifest: Manifest = {
    ...vm.manifest,
    ...resources,
    networks,
    port_map: ports,
    ...(request.noTee === undefined ? {} : { no_tee: request.noTee || vm.manifest.simulated_tee !== undefined }),
    ...(request.updateKmsUrls ? { kms_urls: checkUrls("kms_urls", request.kmsUrls) } : {}),
    ...(request.updateGatewayUrls ? { gateway_urls: checkUrls("gateway_urls", request.gatewayUrls) } : {}),
  };
  if (compose !== undefined || request.image !== undefined) {
    const effective = compose ?? (await storedCompose(vm));
    checkImageFits(await loadGuestImage(config.imagePath, manifest.image), effective);
  }
  const encryptedEnv = request.encryptedEnv.length === 0 ? undefined : request.encryptedEnv;
  return {
    manifest,
    compose: written(compose?.bytes),
    encryptedEnv: written(encryptedEnv),
    userConfig: written(request.userConfig === "" ? undefined : utf8(request.userConfig)),
    growToGb: manifest.disk_size > vm.manifest.disk_size ? manifest.disk_size : undefined,
    replacesVersion:
      isOther(compose?.bytes, before) || isOther(encryptedEnv, await readIfExists(vm.folder.file.encryptedEnv)),
    composeId: compose === undefined ? "" : toHex(appIdFromComposeHash(compose.composeHash)),
    parts: [
      ...(compose === undefined ? [] : ["compose_file"]),
      ...(request.encryptedEnv.length === 0 ? [] : ["encrypted_env"]),
      ...(request.userConfig === "" ? [] : ["user_config"]),
      ...Object.keys(resources),
      ...(request.updatePorts ? ["ports"] : []),
      ...(request.updateNetworking ? ["networks"] : []),
      ...(request.updateKmsUrls ? ["kms_urls"] : []),
      ...(request.updateGatewayUrls ? ["gateway_urls"] : []),
    ],
  };
}

/**
 * All of a plan or nothing, whenever the VMM is killed.
 * @param now ISO 8601: when the version before stopped to be the current one
 * @throws the system's error with nothing changed; where files could not be put in place once all
 *   of them were written, the VM is `broken` until it is loaded again, which finishes it
 */
export async function applyUpdate(vm: Vm, plan: UpdatePlan, imgPath: string, now: string): Promise<void> {
  if (plan.growToGb !== undefined) await growDisk(vm.folder, imgPath, plan.growToGb);
  const { folder } = vm;
  const change = (path: string, file: FilePlan): FileChange[] =>
    file.kind === "keep" ? [] : [{ path, data: file.kind === "write" ? file.data : undefined }];
  const previous = plan.replacesVersion ? await folder.readVersion(vm.manifest) : undefined;
  await folder.prepareChange([
    ...(previous === undefined
      ? []
      : [{ path: folder.file.previousVersion, data: encodeKeptVersion({ ...previous, savedAt: now }) }]),
    ...change(folder.file.compose, plan.compose),
    ...change(folder.file.encryptedEnv, plan.encryptedEnv),
    ...change(folder.file.userConfig, plan.userConfig),
    { path: folder.file.manifest, data: encodeManifest(plan.manifest) },
  ]);
  try {
    await folder.finishChange();
  } catch (error) {
    const reason = `an update is half in place: ${errorChain(error)}; reload the VMs to finish it`;
    vm.state = { kind: "broken", reason, live: liveOf(vm.state) };
    throw error;
  }
  vm.manifest = plan.manifest;
}

/** @throws VmmError `vm-broken` */
export function refuseBroken({ id, state }: Vm): void {
  if (state.kind === "broken") throw new VmmError("vm-broken", `VM ${id} cannot be updated: ${state.reason}`);
}

/** @throws VmmError `conflict` */
export function mustBeStopped({ id, state }: Vm): void {
  if (state.kind !== "stopped" && state.kind !== "exited")
    throw new VmmError("conflict", `vm should be stopped before resize: ${id}`);
}

const written = (data: Uint8Array | undefined): FilePlan =>
  data === undefined ? { kind: "keep" } : { kind: "write", data };

const isOther = (asked: Uint8Array | undefined, there: Uint8Array | undefined): boolean =>
  asked !== undefined && (there === undefined || !equalBytes(asked, there));

async function storedCompose(vm: Vm) {
  const bytes = await vm.folder.readCompose();
  if (bytes === undefined) throw new VmmError("vm-broken", "Failed to read compose file");
  return parseAppCompose(bytes);
}

function resourcesOf(
  vm: Vm,
  request: UpdateRequest,
): Partial<Pick<Manifest, "vcpu" | "memory" | "disk_size" | "image">> {
  const { vcpu, memory, diskSize, image } = request;
  const asked = {
    ...(vcpu === undefined ? {} : { vcpu }),
    ...(memory === undefined ? {} : { memory }),
    ...(diskSize === undefined ? {} : { disk_size: diskSize }),
    ...(image === undefined ? {} : { image }),
  };
  if (Object.keys(asked).length === 0) return asked;
  checkResources({ vcpu, memory, diskSize, image });
  if (image !== undefined) checkImageName(image);
  mustBeStopped(vm);
  if (diskSize !== undefined && diskSize < vm.manifest.disk_size)
    throw new VmmError(
      "request-invalid",
      `Cannot shrink disk size: it has ${vm.manifest.disk_size} GB, ${diskSize} GB was asked for`,
    );
  return asked;
}
