import { toHex } from "@dstack/bytes";
import { appIdFromComposeHash, parseAppCompose } from "@dstack/compose";
import type { vmm } from "@dstack/proto";
import { VmmError } from "../errors.ts";
import { growDisk } from "../launch/guest-disk.ts";
import { loadGuestImage } from "../launch/guest-image.ts";
import { checkImageName, type Manifest } from "../vm/manifest.ts";
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
import type { Vm } from "../vm/vm.ts";
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

export interface UpdatePlan {
  readonly manifest: Manifest;
  readonly compose: Uint8Array | undefined;
  readonly encryptedEnv: Uint8Array | undefined;
  readonly userConfig: string | undefined;
  /** New size of an existing disk. */
  readonly growToGb: number | undefined;
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
  const ports = request.updatePorts ? resolvePorts(request.ports, config.cvm.port_mapping) : vm.manifest.port_map;
  if (request.updatePorts) checkPortsAgainst(ports, others);
  refuseDeadPorts(ports, networks.length > 0 ? networks : [config.cvm.networking]);
  const compose = request.composeFile === "" ? undefined : readCompose(request.composeFile);
  if (compose !== undefined && (await vm.folder.readCompose()) === undefined)
    throw new VmmError("not-found", `The instance ${vm.id} not found`);
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
  return {
    manifest,
    compose: compose?.bytes,
    encryptedEnv: request.encryptedEnv.length === 0 ? undefined : request.encryptedEnv,
    userConfig: request.userConfig === "" ? undefined : request.userConfig,
    growToGb: manifest.disk_size > vm.manifest.disk_size ? manifest.disk_size : undefined,
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

/** The manifest comes last: until it is written, the VM's shape is the old one. */
export async function applyUpdate(vm: Vm, plan: UpdatePlan, imgPath: string): Promise<void> {
  if (plan.growToGb !== undefined) await growDisk(vm.folder, imgPath, plan.growToGb);
  if (plan.compose !== undefined) await vm.folder.writeCompose(plan.compose);
  if (plan.encryptedEnv !== undefined) await vm.folder.writeEncryptedEnv(plan.encryptedEnv);
  if (plan.userConfig !== undefined) await vm.folder.writeUserConfig(plan.userConfig);
  await vm.folder.writeManifest(plan.manifest);
  vm.manifest = plan.manifest;
}

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
  if (vm.state.kind !== "stopped" && vm.state.kind !== "exited")
    throw new VmmError("conflict", `vm should be stopped before resize: ${vm.id}`);
  if (diskSize !== undefined && diskSize < vm.manifest.disk_size)
    throw new VmmError(
      "request-invalid",
      `Cannot shrink disk size: it has ${vm.manifest.disk_size} GB, ${diskSize} GB was asked for`,
    );
  return asked;
}
