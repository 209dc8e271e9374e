/**
 * The management API. In: calls that the listener has authenticated (guard.ts). Out: the `Vmm`
 * service as one table of rows; beside it the plain routes (http-routes.ts), the guests' own API
 * (guest-proxy.ts) and what a guest may ask of its host (host-api.ts). Never: a decision about a
 * VM; that is the fleet's.
 */
import { REVISION, WIRE_VERSION } from "@dstack/proto/wire";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { toHex } from "@dstack/bytes";
import { listImages, type ImageDirectory } from "@dstack/image";
import type { Logger } from "@dstack/log";
import { guestApi, kms, vmm } from "@dstack/proto";
import { callRpc, DEFAULT_BODY_LIMIT_BYTES, httpTransport, route } from "@dstack/rpc";
import { channelTransport, type VmChannel } from "@dstack/vm-channel";
import type { Accelerator } from "../launch/accelerator.ts";
import { VmmError } from "../errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { isBridge } from "../launch/networks.ts";
import type { SupervisedProcess, SupervisorClient } from "../supervisor/supervisor-client.ts";
import { NO_UPDATE } from "../fleet/update-vm.ts";
import { keepRule, type ManagementRule, type ManagementService } from "./guard.ts";
import { vmInfo } from "./vm-info.ts";
import { checkName, readCompose } from "../fleet/vm-request.ts";
import { liveOf, type Vm } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export interface VmmServiceOptions {
  readonly fleet: Fleet;
  readonly supervisor: SupervisorClient;
  readonly config: VmmConfig;
  readonly log: Logger;
  readonly clock: { now(): number };
  /** What the node runs VMs with, as far as it is known yet. */
  readonly node: () => NodeFacts;
}

export interface NodeFacts {
  readonly accelerator: Accelerator | undefined;
  readonly qemuPath: string;
  readonly qemuVersion: string | undefined;
  /** Whether VMs with a simulated TEE may be created. */
  readonly teeSimulator: boolean;
}

export const GUEST_TIMEOUT_MS = 10_000;
const KMS_TIMEOUT_MS = 15_000;

/** The `Vmm` service. The listener has authenticated the caller before a request gets here. */
export function vmmService(options: VmmServiceOptions): ManagementService {
  const { fleet, supervisor, config } = options;
  const m = vmm.Vmm.method;
  const row = <R extends ManagementRule>(method: { readonly name: string }, auth: R) => ({
    auth,
    bodyLimitBytes: config.limits[method.name] ?? DEFAULT_BODY_LIMIT_BYTES,
  });
  const noRegistry = async (): Promise<never> => {
    throw new VmmError("unsupported", "image registry is not configured");
  };
  return {
    prefixes: ["Vmm.", "Teepod."],
    authenticate: keepRule,
    log: options.log,
    routes: [
      route(m.createVm, {
        ...row(m.createVm, "changes"),
        handle: async (request) => ({ id: await fleet.create(request) }),
      }),
      route(m.startVm, { ...row(m.startVm, "changes"), handle: ({ id }) => nothing(fleet.start(id)) }),
      route(m.stopVm, { ...row(m.stopVm, "changes"), handle: ({ id }) => nothing(fleet.stop(id)) }),
      route(m.shutdownVm, {
        ...row(m.shutdownVm, "changes"),
        handle: ({ id }) => nothing(shutdownGuest(fleet.get(id))),
      }),
      route(m.removeVm, { ...row(m.removeVm, "changes"), handle: ({ id }) => nothing(fleet.remove(id)) }),
      route(m.updateVm, {
        ...row(m.updateVm, "changes"),
        handle: async (request) => ({ id: await fleet.update(request) }),
      }),
      route(m.upgradeApp, {
        ...row(m.upgradeApp, "changes"),
        handle: async (request) => ({ id: await fleet.update(request) }),
      }),
      route(m.resizeVm, {
        ...row(m.resizeVm, "changes"),
        handle: async ({ id, vcpu, memory, diskSize, image }) => {
          if ([vcpu, memory, diskSize, image].every((value) => value === undefined))
            throw new VmmError("request-invalid", "resize request contains no updates");
          return nothing(fleet.update({ ...NO_UPDATE, id, vcpu, memory, diskSize, image }));
        },
      }),
      route(m.getComposeHash, {
        ...row(m.getComposeHash, "reads"),
        handle: async ({ name, composeFile }) => {
          checkName(name);
          return { hash: toHex(readCompose(composeFile).composeHash) };
        },
      }),
      route(m.status, {
        ...row(m.status, "reads"),
        handle: (request) => status(request, options),
        extendJson: (json) => ({ ...json, node: nodeJson(options.node()) }),
      }),
      route(m.getInfo, {
        ...row(m.getInfo, "reads"),
        handle: async ({ id }) => {
          await fleet.refresh();
          const vm = fleet.find(id);
          return vm === undefined
            ? { found: false }
            : { found: true, info: await vmInfo(vm, config, options.clock.now(), false) };
        },
      }),
      route(m.listImages, {
        ...row(m.listImages, "reads"),
        handle: async () => ({
          images: (
            await listImages(config.imagePath, (image, reason) => options.log.warn({ image, reason }, "not an image"))
          ).map(imageInfo),
        }),
      }),
      route(m.getAppEnvEncryptPubKey, {
        ...row(m.getAppEnvEncryptPubKey, "reads"),
        handle: ({ appId }) => askKms(config.kmsUrl, appId),
      }),
      route(m.version, {
        ...row(m.version, "reads"),
        handle: async () => ({ version: WIRE_VERSION, rev: REVISION ?? "" }),
      }),
      route(m.getMeta, {
        ...row(m.getMeta, "reads"),
        handle: async () => meta(config),
        extendJson: (json) => ({ ...json, node: nodeJson(options.node()) }),
      }),
      route(m.listGpus, {
        ...row(m.listGpus, "reads"),
        handle: async () => ({ gpus: [], allowAttachAll: config.cvm.gpu.allowAttachAll }),
      }),
      route(m.reloadVms, { ...row(m.reloadVms, "changes"), handle: () => fleet.load() }),
      route(m.svList, {
        ...row(m.svList, "reads"),
        handle: async () => ({ processes: (await supervisor.list()).map(processInfo) }),
      }),
      route(m.svStop, {
        ...row(m.svStop, "changes"),
        handle: async ({ id }) => {
          if ((await supervisor.info(id)) === undefined)
            throw new VmmError("not-found", "Supervisor process not found");
          return nothing(fleet.find(id) === undefined ? supervisor.stop(id) : fleet.stop(id));
        },
      }),
      route(m.svRemove, { ...row(m.svRemove, "changes"), handle: ({ id }) => nothing(supervisor.remove(id)) }),
      route(m.listRegistryImages, { ...row(m.listRegistryImages, "reads"), handle: async () => ({ images: [] }) }),
      route(m.pullRegistryImage, { ...row(m.pullRegistryImage, "changes"), handle: noRegistry }),
      route(m.deleteImage, {
        ...row(m.deleteImage, "changes"),
        handle: async () => {
          throw new VmmError(
            "unsupported",
            `images are not deleted through this API; remove the folder below ${config.imagePath} instead`,
          );
        },
      }),
    ],
  };
}

/** The VM's channel. @throws VmmError `guest-unreachable` */
export function guestChannel(vm: Vm): VmChannel {
  const live = liveOf(vm.state);
  if (live === undefined) throw new VmmError("guest-unreachable", `VM ${vm.id} is not running`);
  return live.channel;
}

const shutdownGuest = (vm: Vm): Promise<unknown> =>
  callRpc(
    channelTransport(guestChannel(vm), "/api"),
    guestApi.GuestApi.method.shutdown,
    {},
    { timeoutMs: GUEST_TIMEOUT_MS },
  );

async function status(
  request: vmm.StatusRequest,
  { fleet, config, clock }: VmmServiceOptions,
): Promise<MessageInitShape<typeof vmm.StatusResponseSchema>> {
  await fleet.refresh();
  const { ids, keyword, page, pageSize, brief } = request;
  const matching = fleet.all().filter(({ id, manifest }) => {
    if (ids.length > 0 && !ids.includes(id)) return false;
    return (
      keyword === "" || [manifest.name, id, manifest.app_id, manifest.image].some((text) => text.includes(keyword))
    );
  });
  const shown = page >= 1 && pageSize >= 1 ? matching.slice((page - 1) * pageSize, page * pageSize) : matching;
  const now = clock.now();
  return {
    vms: await Promise.all(shown.map((vm) => vmInfo(vm, config, now, brief))),
    portMappingEnabled: config.cvm.portMapping.enabled,
    total: matching.length,
  };
}

function imageInfo(image: ImageDirectory): MessageInitShape<typeof vmm.ImageInfoSchema> {
  return {
    name: image.name,
    description: JSON.stringify(image.metadata),
    version: image.version,
    isDev: image.metadata.is_dev,
  };
}

function meta(config: VmmConfig): MessageInitShape<typeof vmm.GetMetaResponseSchema> {
  const { cvm, gateway } = config;
  const { networking } = cvm;
  return {
    kms: { url: cvm.kmsUrls[0] ?? "", urls: [...cvm.kmsUrls] },
    gateway: {
      url: config.cvm.gatewayUrls[0] ?? "",
      baseDomain: gateway.baseDomain,
      port: gateway.port,
      agentPort: gateway.agentPort,
      urls: [...config.cvm.gatewayUrls],
    },
    resources: {
      maxCvmNumber: cvm.cidPoolSize,
      maxAllocableVcpu: cvm.maxAllocableVcpu,
      maxAllocableMemoryInMb: cvm.maxAllocableMemoryInMb,
    },
    networking: {
      supportedModes: ["user", ...(networking.bridge !== "" && isBridge(networking.bridge) ? ["bridge"] : [])],
      defaultMode: networking.mode === "custom" ? "" : networking.mode,
      defaultBridge: networking.bridge,
    },
  };
}

function nodeJson({ accelerator, qemuPath, qemuVersion, teeSimulator }: NodeFacts): object {
  return {
    accelerator: accelerator?.kind ?? "not tried yet",
    accelerator_reason: accelerator?.reason ?? "the first start of a VM tries it",
    qemu_path: qemuPath,
    qemu_version: qemuVersion ?? "",
    tee_simulator: teeSimulator,
  };
}

function processInfo({ config, state }: SupervisedProcess): MessageInitShape<typeof vmm.SvProcessInfoSchema> {
  const status =
    typeof state.status === "string"
      ? state.status
      : "exited" in state.status
        ? `exited(${state.status.exited})`
        : `error(${state.status.error})`;
  return {
    id: config.id,
    name: config.name,
    status,
    ...(state.pid == null ? {} : { pid: state.pid }),
    command: [config.command, ...config.args].join(" "),
    note: config.note,
  };
}

/** The KMS's certificate is not checked: whoever encrypts checks the key's signature, and the VMM is no party to that. */
async function askKms(
  kmsUrl: string,
  appId: Uint8Array,
): Promise<MessageInitShape<typeof vmm.PublicKeyResponseSchema>> {
  if (kmsUrl === "") throw new VmmError("unsupported", "KMS is not configured");
  const transport = httpTransport({ baseUrl: `${kmsUrl.replace(/\/$/, "")}/prpc`, tls: { rejectUnauthorized: false } });
  const { publicKey, signature, timestamp, signatureV1 } = await callRpc(
    transport,
    kms.KMS.method.getAppEnvEncryptPubKey,
    { appId },
    { timeoutMs: KMS_TIMEOUT_MS },
  );
  return { publicKey, signature, timestamp, signatureV1 };
}

async function nothing(work: Promise<unknown>): Promise<Record<never, never>> {
  await work;
  return {};
}
