/** What CreateVm and UpdateVm ask for, checked as a whole before anything is touched. */
import { parseHexOfLength, toHex, utf8 } from "@dstack/bytes";
import { appIdFromComposeHash, parseAppCompose, type ParsedAppCompose } from "@dstack/compose";
import { dockerFindings, findingText, readComposeFile } from "@dstack/compose/docker";
import type { ImageDirectory } from "@dstack/image";
import type { vmm } from "@dstack/proto";
import type { Networking } from "../config/config-schema.ts";
import { VmmError } from "../errors.ts";
import { checkImageName, type Manifest, type PortMap } from "../vm/manifest.ts";
import { resolveNetwork } from "../launch/networks.ts";
import { portsConflict, portText, resolvePorts } from "../launch/port-mapping.ts";
import { isStarted, type Vm } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export type VmConfiguration = vmm.VmConfiguration;

const NAME = /^[A-Za-z0-9\-_. @~!$^()]{1,128}$/;
const MIN_MEMORY_MB = 512;
const MAX_COMPOSE_BYTES = 8 * 1024 * 1024;
const SIMULATED = [
  "dstack-tdx",
  "dstack-gcp-tdx",
  "dstack-amd-sev-snp",
  "dstack-nitro-enclave",
  "dstack-aws-nitro-tpm",
];

export interface NewVm {
  readonly request: VmConfiguration;
  readonly config: VmmConfig;
  readonly compose: ParsedAppCompose;
  readonly id: string;
  readonly nowMs: number;
}

/** @throws VmmError `request-invalid`, `unsupported` */
export function manifestOf({ request, config, compose, id, nowMs }: NewVm): Manifest {
  checkName(request.name);
  checkImageName(request.image);
  checkResources(request);
  refuseUnsupported(request, compose);
  const simulated = checkSimulated(request.simulatedTee, config);
  const ports = resolvePorts(request.ports, config.cvm.portMapping);
  const networks = networksOfRequest(request, config.cvm.networking);
  refuseDeadPorts(ports, networks.length > 0 ? networks : [config.cvm.networking]);
  return {
    id,
    name: request.name,
    app_id: appIdOf(request.appId, compose),
    vcpu: request.vcpu,
    memory: request.memory,
    disk_size: request.diskSize,
    image: request.image,
    port_map: ports,
    created_at_ms: nowMs,
    hugepages: false,
    pin_numa: false,
    gpus: { attach_mode: "listed", gpus: [], bridges: [] },
    kms_urls: checkUrls("kms_urls", request.kmsUrls),
    gateway_urls: checkUrls("gateway_urls", request.gatewayUrls),
    no_tee: request.noTee || simulated !== undefined,
    simulated_tee: simulated,
    swtpm: false,
    networks,
    volumes: [],
  };
}

/** @throws VmmError `request-invalid` */
export function checkName(name: string): void {
  if (!NAME.test(name) || name.trim() !== name) {
    throw new VmmError(
      "request-invalid",
      `Invalid name: ${JSON.stringify(name.slice(0, 80))}: expected 1 to 128 of A-Z a-z 0-9 - _ . @ ~ ! $ ^ ( ) and inner spaces`,
    );
  }
}

/** The compose file's bytes, parsed. @throws VmmError `request-invalid` */
export function readCompose(text: string): ParsedAppCompose {
  const bytes = utf8(text);
  if (bytes.length > MAX_COMPOSE_BYTES)
    throw new VmmError(
      "request-invalid",
      `Invalid compose file: ${bytes.length} bytes, at most ${MAX_COMPOSE_BYTES} are accepted; put data into an image or a volume`,
    );
  let parsed: ParsedAppCompose;
  try {
    parsed = parseAppCompose(bytes);
  } catch (cause) {
    throw new VmmError("request-invalid", "Invalid compose file", { cause });
  }
  const { runner, dockerComposeFile } = parsed.compose;
  if (runner === "docker-compose" && dockerComposeFile !== undefined) refuseWhatDockerRefuses(dockerComposeFile);
  return parsed;
}

/** Only what docker compose of the guest image would refuse too: the app's author judges the rest. */
function refuseWhatDockerRefuses(dockerComposeFile: string): void {
  let reason: string | undefined;
  try {
    const [wrong] = dockerFindings(readComposeFile(utf8(dockerComposeFile)));
    if (wrong !== undefined) reason = findingText(wrong);
  } catch (cause) {
    throw new VmmError("request-invalid", "Invalid compose file: docker_compose_file", { cause });
  }
  if (reason !== undefined)
    throw new VmmError("request-invalid", `Invalid compose file: docker_compose_file: ${reason}`);
}

/** @throws VmmError `unsupported` where the image cannot give what the compose file asks for */
export function checkImageFits(image: ImageDirectory, { compose }: ParsedAppCompose): void {
  const offered = /(?:^|\s)dstack\.storage_fs=(\S+)/.exec(image.metadata.cmdline ?? "")?.[1];
  if (compose.storageFs !== undefined && offered !== undefined && compose.storageFs !== offered) {
    throw new VmmError(
      "unsupported",
      `storage_fs ${compose.storageFs} is not supported by image ${image.name}, which has ${offered}; ask for storage_fs ${offered} or leave it out`,
    );
  }
}

/** @throws VmmError `request-invalid` with the texts that existing tools know */
export function checkResources(request: {
  vcpu?: number | undefined;
  memory?: number | undefined;
  diskSize?: number | undefined;
  image?: string | undefined;
}): void {
  for (const [name, value] of [
    ["vcpu", request.vcpu],
    ["memory", request.memory],
    ["disk_size", request.diskSize],
  ] as const) {
    if (value === 0) throw new VmmError("request-invalid", `${name} must be greater than zero`);
  }
  if (request.memory !== undefined && request.memory < MIN_MEMORY_MB)
    throw new VmmError(
      "request-invalid",
      `memory is too small: ${request.memory} MB, at least ${MIN_MEMORY_MB} MB are needed to boot`,
    );
  if (request.image === "") throw new VmmError("request-invalid", "image must not be empty");
}

/** What all started VMs take together must stay within the node's limits. @throws VmmError `conflict` */
export function checkCapacity(
  wanted: { vcpu: number; memory: number },
  others: readonly Vm[],
  limits: VmmConfig["cvm"],
): void {
  const started = others.filter(({ state }) => isStarted(state));
  const vcpu = started.reduce((sum, vm) => sum + vm.manifest.vcpu, 0);
  const memory = started.reduce((sum, vm) => sum + vm.manifest.memory, 0);
  if (vcpu + wanted.vcpu > limits.maxAllocableVcpu)
    throw new VmmError(
      "conflict",
      `not enough vCPUs: ${wanted.vcpu} wanted, ${limits.maxAllocableVcpu - vcpu} of ${limits.maxAllocableVcpu} are free (cvm.max_allocable_vcpu)`,
    );
  if (memory + wanted.memory > limits.maxAllocableMemoryInMb) {
    throw new VmmError(
      "conflict",
      `not enough memory: ${wanted.memory} MB wanted, ${limits.maxAllocableMemoryInMb - memory} of ${limits.maxAllocableMemoryInMb} MB are free (cvm.max_allocable_memory_in_mb)`,
    );
  }
}

/** @throws VmmError `conflict` naming the other VM */
export function checkPortsAgainst(ports: readonly PortMap[], others: readonly Vm[]): void {
  for (const port of ports) {
    const taken = others.find((vm) => vm.manifest.port_map.some((other) => portsConflict(port, other)));
    if (taken !== undefined)
      throw new VmmError("conflict", `host port mapping conflicts with VM ${taken.id}: ${portText(port)}`);
  }
}

/** A mapping acts through user networking only; without it, it would vanish silently. */
export function refuseDeadPorts(ports: readonly PortMap[], networks: readonly Networking[]): void {
  if (ports.length > 0 && !networks.some((network) => network.mode === "user")) {
    throw new VmmError(
      "request-invalid",
      `port mappings need a network of mode user, and this VM has ${networks.map(({ mode }) => mode).join(", ")}`,
    );
  }
}

function networksOfRequest(request: Pick<VmConfiguration, "networks" | "networking">, node: Networking): Networking[] {
  if (request.networks.length > 0) return request.networks.map((network) => resolveNetwork(network, node));
  const single = request.networking;
  return single === undefined || (single.mode === "" && single.bridgeName === "") ? [] : [resolveNetwork(single, node)];
}

/** @throws VmmError `request-invalid` */
export function checkUrls(field: string, urls: readonly string[]): string[] {
  for (const url of urls) {
    if (!URL.canParse(url) || !["http:", "https:"].includes(new URL(url).protocol))
      throw new VmmError(
        "request-invalid",
        `${field}: expected http or https URLs, got ${JSON.stringify(url.slice(0, 200))}`,
      );
  }
  return [...urls];
}

/** Hex; of the manifest where none is given, and "" where none is wanted. @throws VmmError `request-invalid` */
export function appIdOf(given: string | undefined, compose: ParsedAppCompose): string {
  if (given === undefined) return toHex(appIdFromComposeHash(compose.composeHash));
  const text = given.replace(/^0x/, "").toLowerCase();
  if (text === "") return "";
  try {
    return toHex(parseHexOfLength(text, 20, "app_id"));
  } catch (cause) {
    throw new VmmError("request-invalid", "Invalid app id", { cause });
  }
}

function checkSimulated(platform: string | undefined, config: VmmConfig): string | undefined {
  if (platform === undefined) return undefined;
  if (!SIMULATED.includes(platform)) throw new VmmError("request-invalid", `unsupported TEE variant: ${platform}`);
  if (config.cvm.teeSimulator === undefined)
    throw new VmmError("request-invalid", "tee simulator credentials are not configured on this VMM");
  if (platform !== "dstack-tdx")
    throw new VmmError("unsupported", `simulated TEE ${platform} is not supported; dstack-tdx is`);
  return platform;
}

function refuseUnsupported(request: VmConfiguration, { compose }: ParsedAppCompose): void {
  if ((request.gpus?.gpus.length ?? 0) > 0 || request.gpus?.attachMode === "all")
    throw new VmmError("unsupported", "GPU is not enabled");
  if (request.hugepages) throw new VmmError("unsupported", "hugepages are not supported");
  if (request.pinNuma) throw new VmmError("unsupported", "pin_numa is not supported");
  if (compose.verityVolumes.length > 0)
    throw new VmmError("unsupported", "volumes requested but cvm.volumes_dir is not configured");
  if (compose.keyProvider === "tpm")
    throw new VmmError("unsupported", "key provider tpm is not supported; use kms, local or none");
}
