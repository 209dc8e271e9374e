import { WIRE_VERSION } from "@dstack/proto/wire";
import type { vmm } from "@dstack/proto";
import { CliError } from "../../terminal/errors.ts";
import type { PortArgument } from "../../terminal/ports.ts";
import type { MachineRequest } from "./request.ts";

/** The image of a first deployment that names none. */
const DEFAULT_IMAGE = `dstack-sim-${WIRE_VERSION}`;
const DEFAULT_SIZE = { vcpu: 2, memoryMib: 2048, diskGib: 10 };

/** The machine of an app: the guest image, its size, the host's ports that lead into it. */
export interface Machine {
  readonly image: string;
  readonly vcpu: number;
  readonly memoryMib: number;
  readonly diskGib: number;
  readonly ports: readonly PortArgument[];
}

export interface MachinePlan {
  readonly wanted: Machine;
  /** As it is now; undefined where the app is new. */
  readonly present: Machine | undefined;
  /** What was not given and stays, for people. */
  readonly kept: readonly string[];
}

/** The machine of a VM that exists. */
export function machineOf({ configuration }: vmm.VmInfo): Machine | undefined {
  if (configuration === undefined) return undefined;
  const { image, vcpu, memory, diskSize, ports } = configuration;
  return {
    image,
    vcpu,
    memoryMib: memory,
    diskGib: diskSize,
    ports: ports.map(({ protocol, hostAddress, hostPort, vmPort }) => ({
      protocol: protocol === "udp" ? "udp" : "tcp",
      hostAddress,
      hostPort,
      vmPort,
    })),
  };
}

/**
 * What the app runs on: what was given, else what it has, else the default. Mappings that are given join those that
 * are there, and replace those that cannot be beside them. Pure.
 * @throws CliError `usage` for a disk that would shrink
 */
export function planMachine(request: MachineRequest, present: Machine | undefined): MachinePlan {
  const base = present ?? { image: DEFAULT_IMAGE, ...DEFAULT_SIZE, ports: [] };
  const given = (request.ports ?? []).map((port) => asMapped(port, base.ports));
  const keptPorts = request.dropPorts ? [] : base.ports.filter((port) => !given.some((other) => overlaps(other, port)));
  const wanted: Machine = {
    image: request.image ?? base.image,
    vcpu: request.vcpu ?? base.vcpu,
    memoryMib: request.memoryMib ?? base.memoryMib,
    diskGib: request.diskGib ?? base.diskGib,
    ports: [...keptPorts, ...given],
  };
  if (present !== undefined && wanted.diskGib < present.diskGib)
    throw new CliError("usage", `--disk ${wanted.diskGib}G: the disk has ${present.diskGib} GiB and cannot shrink`, {
      hint: "leave --disk away to keep it",
    });
  if (present === undefined) return { wanted, present, kept: [] };
  const kept = [
    ...(request.image === undefined ? [`image ${present.image}`] : []),
    ...(request.vcpu === undefined ? [`${present.vcpu} vCPU`] : []),
    ...(request.memoryMib === undefined ? [`${present.memoryMib} MiB memory`] : []),
    ...(request.diskGib === undefined ? [`${present.diskGib} GiB disk`] : []),
    ...keptPorts.map((port) => `port ${portText(port)}`),
  ];
  return { wanted, present, kept };
}

/** What an update has to ask for, as the VMM's call takes it; undefined where the machine stays as it is. Pure. */
export function machineChanges(wanted: Machine, present: Machine): MachineChanges | undefined {
  const ports = samePorts(wanted.ports, present.ports)
    ? {}
    : { updatePorts: true, ports: wanted.ports.map((port) => ({ ...port })) };
  const size = {
    ...(wanted.image === present.image ? {} : { image: wanted.image }),
    ...(wanted.vcpu === present.vcpu ? {} : { vcpu: wanted.vcpu }),
    ...(wanted.memoryMib === present.memoryMib ? {} : { memory: wanted.memoryMib }),
    ...(wanted.diskGib > present.diskGib ? { diskSize: wanted.diskGib } : {}),
  };
  const needsStop = Object.keys(size).length > 0;
  return needsStop || "ports" in ports ? { fields: { ...ports, ...size }, needsStop } : undefined;
}

export interface MachineChanges {
  readonly fields: {
    readonly updatePorts?: boolean;
    readonly ports?: PortArgument[];
    readonly image?: string;
    readonly vcpu?: number;
    readonly memory?: number;
    readonly diskSize?: number;
  };
  /** Whether the VMM makes the change on a stopped VM alone. */
  readonly needsStop: boolean;
}

/**
 * A mapping that another VM of the host has already, with that VM's name. Pure.
 * The host's default address is the VMM's to know, so an empty one is held against loopback and any address.
 */
export function takenPort(
  ports: readonly PortArgument[],
  others: readonly vmm.VmInfo[],
): { readonly port: PortArgument; readonly by: string } | undefined {
  for (const port of ports) {
    const holder = others.find((vm) => machineOf(vm)?.ports.some((other) => overlaps(port, other)));
    if (holder !== undefined) return { port, by: holder.name };
  }
  return undefined;
}

/** `tcp 127.0.0.1:8080 -> 80` */
export const portText = ({ protocol, hostAddress, hostPort, vmPort }: PortArgument): string =>
  `${protocol} ${hostAddress === "" ? "" : `${hostAddress}:`}${hostPort} -> ${vmPort}`;

const sameHostPort = (a: PortArgument, b: PortArgument): boolean =>
  a.protocol === b.protocol && a.hostPort === b.hostPort;

/** The VMM puts its default address where none is given, so a mapping that is there already has one. */
const asMapped = (port: PortArgument, present: readonly PortArgument[]): PortArgument =>
  (port.hostAddress === ""
    ? present.find((other) => sameHostPort(port, other) && port.vmPort === other.vmPort)
    : undefined) ?? port;

/** In whichever order. */
const samePorts = (a: readonly PortArgument[], b: readonly PortArgument[]): boolean => {
  const [left, right] = [a, b].map((ports) => ports.map(portText).toSorted().join());
  return left === right;
};

const ANY_ADDRESS = ["0.0.0.0", "::"];

/** Whether the VMM refuses the one while the other is there. */
const overlaps = (a: PortArgument, b: PortArgument): boolean =>
  sameHostPort(a, b) &&
  (a.hostAddress === b.hostAddress ||
    [a.hostAddress, b.hostAddress].some((address) => ANY_ADDRESS.includes(address)) ||
    (a.hostAddress === "" && b.hostAddress === "127.0.0.1"));
