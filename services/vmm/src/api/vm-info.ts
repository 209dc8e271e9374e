import type { MessageInitShape } from "@bufbuild/protobuf";
import { vmm } from "@dstack/proto";
import { parseAppCompose } from "@dstack/compose";
import { readIfExists, readTextIfExists } from "@dstack/files";
import { backendOf, macAddress } from "../launch/networks.ts";
import { isStarted, networksOf, processOf, vmStatus, type Vm, type VmState } from "../vm/vm.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

export type VmInfoInit = MessageInitShape<typeof vmm.VmInfoSchema>;

/** What the API tells of one VM; `brief` leaves the configuration out. */
export async function vmInfo(vm: Vm, config: VmmConfig, nowMs: number, brief: boolean): Promise<VmInfoInit> {
  const { manifest } = vm;
  const compose = await vm.folder.readCompose().catch(() => undefined);
  const instanceId = await vm.folder.readInstanceInfo().then(
    (info) => info.instanceId,
    () => "",
  );
  const url =
    instanceId !== "" && wantsGateway(compose) ? appUrl(instanceId, manifest.gateway_urls, config.gateway) : undefined;
  const status = vmStatus(vm.state);
  const process = processOf(vm.state)?.state;
  const now = Math.floor(nowMs / 1000);
  return {
    id: vm.id,
    name: manifest.name,
    status,
    uptime: process?.started_at == null ? "never" : humanDuration(now - process.started_at),
    ...(url === undefined ? {} : { appUrl: url }),
    appId: manifest.app_id,
    ...(instanceId === "" ? {} : { instanceId }),
    ...(brief ? {} : { configuration: await configurationOf(vm, compose) }),
    exitedAt: process?.stopped_at == null ? "never" : humanDuration(now - process.stopped_at),
    bootProgress: vm.bootProgress,
    bootError: vm.bootError || reasonOf(vm.state),
    shutdownProgress: vm.shutdownProgress,
    imageVersion: vm.imageVersion,
    events: vm.events.map(({ event, body, timestampMs }) => ({ event, body, timestamp: BigInt(timestampMs) })),
    interfaces: networksOf(vm, config).map((network, index) => ({
      mode: network.mode,
      backend: backendOf(network.mode),
      mac: macAddress(vm.id, index, network.mac_prefix),
      ...(network.mode === "bridge" ? { bridgeName: network.bridge } : {}),
      netdevId: `net${index}`,
    })),
  };
}

/** Why it does not run, where that is known. */
const reasonOf = (state: VmState): string => (state.kind === "broken" || state.kind === "exited" ? state.reason : "");

/** The app's address at the gateway: the VM's own gateway where it names a readable one, else the node's. */
export function appUrl(instanceId: string, vmGatewayUrls: readonly string[], gateway: VmmConfig["gateway"]): string {
  const [own = ""] = vmGatewayUrls;
  const parsed = URL.canParse(own) ? new URL(own) : undefined;
  const host = parsed === undefined ? gateway.baseDomain : parsed.hostname;
  const port = parsed === undefined ? gateway.port : Number(parsed.port === "" ? 443 : parsed.port);
  return `https://${instanceId}-${gateway.agentPort}.${host}${port === 443 ? "" : `:${port}`}`;
}

const UNITS: readonly (readonly [string, number, boolean])[] = [
  ["year", 31_557_600, true],
  ["month", 2_630_016, true],
  ["day", 86_400, true],
  ["h", 3_600, false],
  ["m", 60, false],
  ["s", 1, false],
];

/** Whole seconds as `1day 2h 3m 4s`; units of zero are left out, nothing at all is `0s`. */
export function humanDuration(seconds: number): string {
  let rest = Math.max(0, seconds);
  const parts = UNITS.flatMap(([name, size, plural]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count === 0 ? [] : [`${count}${name}${plural && count > 1 ? "s" : ""}`];
  });
  return parts.length === 0 ? "0s" : parts.join(" ");
}

function wantsGateway(compose: Uint8Array | undefined): boolean {
  try {
    return compose !== undefined && parseAppCompose(compose).compose.gatewayEnabled;
  } catch {
    return false; // A damaged compose file is reported where the VM is started.
  }
}

async function configurationOf(
  vm: Vm,
  compose: Uint8Array | undefined,
): Promise<MessageInitShape<typeof vmm.VmConfigurationSchema>> {
  const { manifest, folder } = vm;
  const networks = manifest.networks.map(({ mode, bridge }) => ({ mode, bridgeName: mode === "bridge" ? bridge : "" }));
  return {
    name: manifest.name,
    image: manifest.image,
    composeFile: compose === undefined ? "" : new TextDecoder().decode(compose),
    vcpu: manifest.vcpu,
    memory: manifest.memory,
    diskSize: manifest.disk_size,
    ports: manifest.port_map.map((port) => ({
      protocol: port.protocol,
      hostPort: port.from,
      vmPort: port.to,
      hostAddress: port.address,
    })),
    encryptedEnv: (await readIfExists(folder.file.encryptedEnv)) ?? new Uint8Array(),
    appId: manifest.app_id,
    userConfig: (await readTextIfExists(folder.file.userConfig)) ?? "",
    hugepages: manifest.hugepages,
    pinNuma: manifest.pin_numa,
    gpus: { gpus: manifest.gpus.gpus, attachMode: manifest.gpus.attach_mode },
    kmsUrls: [...manifest.kms_urls],
    gatewayUrls: [...manifest.gateway_urls],
    stopped: !isStarted(vm.state),
    noTee: manifest.no_tee,
    ...(networks[0] === undefined ? {} : { networking: networks[0] }),
    networks,
    ...(manifest.simulated_tee === undefined ? {} : { simulatedTee: manifest.simulated_tee }),
  };
}
