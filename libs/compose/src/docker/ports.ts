/**
 * What a compose file publishes, and the one answer to which port a gateway can reach. The
 * gateway speaks TCP to the VM's own address.
 */
import { isIP } from "node:net";
import { isUnknown, itemsOf, memberOf, outsideVariable, textOf, type ComposeNode, type Place } from "./node.ts";
import type { ComposeFile, ComposeService } from "./read-compose-file.ts";

export interface PortRange {
  readonly from: number;
  /** The same as `from` for one port. */
  readonly to: number;
}

export interface PublishedPort {
  readonly service: string;
  /** Port inside the container. */
  readonly target: PortRange;
  /** Port of the VM; undefined where Docker takes a free one. More than one for one target: Docker takes the first free. */
  readonly published: PortRange | undefined;
  /** Undefined for all addresses. */
  readonly hostIp: string | undefined;
  /** In small letters: tcp, udp or sctp. */
  readonly protocol: string;
  readonly place: Place;
}

export interface ServicePorts {
  readonly ports: readonly PublishedPort[];
  /** Entries that depend on a variable whose value is not known. */
  readonly unknown: readonly { readonly text: string; readonly variables: readonly string[]; readonly place: Place }[];
  /** Entries that are no port mapping, with the reason. */
  readonly invalid: readonly InvalidPort[];
}

export interface InvalidPort {
  readonly text: string;
  readonly message: string;
  readonly place: Place;
  /** Whether reading the file ends here; else Docker says it when the container starts. */
  readonly endsReading: boolean;
}

/** What a service publishes, short and long form, each port once. */
export function portsOf({ name, node }: ComposeService): ServicePorts {
  const ports = new Map<string, PublishedPort>();
  const unknown: ServicePorts["unknown"][number][] = [];
  const invalid: InvalidPort[] = [];
  for (const entry of itemsOf(memberOf(node, "ports"))) {
    const blind =
      entry.kind === "map" ? [...entry.entries.values()].find(isUnknown) : isUnknown(entry) ? entry : undefined;
    if (blind?.kind === "scalar") {
      unknown.push({ text: blind.raw, variables: blind.variables, place: entry.place });
      continue;
    }
    const read = entry.kind === "map" ? longForm(entry) : shortForm(textOf(entry) ?? "");
    if (typeof read === "string") {
      const target = memberOf(entry, "target");
      const endsReading = entry.kind !== "map" || target === undefined || Number(textOf(target)) < 0;
      invalid.push({ text: textOf(entry) ?? "port", message: read, place: entry.place, endsReading });
      continue;
    }
    for (const port of apart(read)) ports.set(keyOf(port), { ...port, service: name, place: entry.place });
  }
  return { ports: [...ports.values()], unknown, invalid };
}

export interface ReachablePort {
  readonly port: number;
  readonly service: string;
}

export interface GatewayPorts {
  /** Ports that a gateway reaches, in the file's order, each once. */
  readonly reachable: readonly ReachablePort[];
  /** What looks like a port and is none for the gateway, with the reason. */
  readonly unreachable: readonly {
    readonly service: string;
    readonly port: string;
    readonly reason:
      | "loopback"
      | "address"
      | "profile"
      | "protocol"
      | "free-port"
      | "one-of-many"
      | "no-network"
      | "no-container"
      | "variable";
  }[];
  /** Running services on the VM's own network: every port that they listen on is reached; the file names those under `expose`. */
  readonly hostNetwork: readonly string[];
}

/** Which ports a gateway reaches. The app's address is that of the first one. */
export function gatewayPorts(file: ComposeFile): GatewayPorts {
  const reachable = new Map<number, ReachablePort>();
  const unreachable: GatewayPorts["unreachable"][number][] = [];
  const hostNetwork: string[] = [];
  for (const service of file.services) {
    const add = (port: number): void => {
      if (!reachable.has(port)) reachable.set(port, { port, service: service.name });
    };
    const mode = memberOf(service.node, "network_mode");
    const isHost = textOf(memberOf(service.node, "network_mode")) === "host";
    if (isHost && service.active && !isOff(service)) {
      hostNetwork.push(service.name);
      for (const port of exposedPorts(service)) add(port);
    }
    // Docker leaves out `ports` of a container on the host's network.
    const { ports, unknown } = isHost ? { ports: [], unknown: [] } : portsOf(service);
    for (const port of ports) {
      const reason = !service.active
        ? "profile"
        : isOff(service)
          ? "no-container"
          : outsideVariable(mode, file.maySend) !== undefined
            ? "variable"
            : textOf(mode) === "none"
              ? "no-network"
              : whyNot(port);
      if (reason !== undefined) unreachable.push({ service: service.name, port: portText(port), reason });
      else if (port.published !== undefined) add(port.published.from);
    }
    for (const { text } of unknown) unreachable.push({ service: service.name, port: text, reason: "variable" });
  }
  return { reachable: [...reachable.values()], unreachable, hostNetwork };
}

/** `[address:]published[-last]:target/protocol`. */
export function portText({ hostIp, published, target, protocol }: Omit<PublishedPort, "service" | "place">): string {
  const address = hostIp === undefined ? "" : hostIp.includes(":") ? `[${hostIp}]:` : `${hostIp}:`;
  return `${address}${published === undefined ? "" : rangeText(published)}:${rangeText(target)}/${protocol}`;
}

type BarePort = Omit<PublishedPort, "service" | "place">;

const rangeText = ({ from, to }: PortRange): string => (from === to ? String(from) : `${from}-${to}`);
const keyOf = (port: BarePort): string => portText(port);

function whyNot({ hostIp, protocol, published }: BarePort): GatewayPorts["unreachable"][number]["reason"] | undefined {
  if (protocol !== "tcp") return "protocol";
  if (published === undefined) return "free-port";
  if (published.from !== published.to) return "one-of-many";
  if (hostIp === undefined || hostIp === "0.0.0.0" || hostIp === "::") return undefined;
  return hostIp.startsWith("127.") || hostIp === "::1" || hostIp === "localhost" ? "loopback" : "address";
}

/** Whether no container of the service is started. */
const isOff = ({ node }: ComposeService): boolean =>
  [memberOf(node, "scale"), memberOf(memberOf(node, "deploy"), "replicas")].some((count) => textOf(count) === "0");

function exposedPorts({ node }: ComposeService): readonly number[] {
  return itemsOf(memberOf(node, "expose")).flatMap((entry) => {
    const [ports = "", protocol = "tcp"] = (textOf(entry) ?? "").split("/");
    const range = toRange(ports);
    return protocol === "tcp" && typeof range === "object" ? all(range) : [];
  });
}

const all = ({ from, to }: PortRange): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Ranges of one size on both sides are as many mappings. */
function apart(port: BarePort): readonly BarePort[] {
  const { target, published } = port;
  if (target.from === target.to) return [port];
  return all(target).map((at, i) => {
    const outside = published === undefined ? undefined : published.from + i;
    return {
      ...port,
      target: { from: at, to: at },
      published: outside === undefined ? undefined : { from: outside, to: outside },
    };
  });
}

/** `[[address:][published]:]target[/protocol]`, ranges on either side. A text is what is wrong. */
function shortForm(text: string): BarePort | string {
  const [mapping = "", written = ""] = text.split("/");
  const protocol = written === "" ? "tcp" : written.toLowerCase();
  if (!["tcp", "udp", "sctp"].includes(protocol)) return `protocol ${protocol || "nothing"}: expected tcp, udp or sctp`;
  const match = /^(?:(?:\[([^\]]*)\]|([^[\]:]*)):)?([^:]*):([^:]+)$/.exec(mapping);
  const [address, publishedText, targetText] =
    match === null ? [undefined, "", mapping] : [match[1] ?? match[2], match[3] ?? "", match[4] ?? ""];
  const target = toRange(targetText);
  if (target === undefined || target.from === 0)
    return `container port ${JSON.stringify(targetText)}: expected 1 to 65535, or a range`;
  const published = publishedText === "" ? undefined : toRange(publishedText);
  if (publishedText !== "" && published === undefined)
    return `published port ${JSON.stringify(publishedText)}: expected 0 to 65535, or a range`;
  if (address !== undefined && address !== "" && !isAddress(address))
    return `address ${JSON.stringify(address)}: expected an IP address`;
  if (published !== undefined && target.from !== target.to && target.to - target.from !== published.to - published.from)
    return `the ranges ${publishedText} and ${targetText} have different lengths`;
  return { target, published: chosen(published), hostIp: address === "" ? undefined : address, protocol };
}

function longForm(entry: ComposeNode): BarePort | string {
  const target = toRange(textOf(memberOf(entry, "target")) ?? "");
  if (target === undefined || target.from === 0 || target.from !== target.to)
    return "`target`: expected a port of the container";
  const publishedText = textOf(memberOf(entry, "published")) ?? "";
  const published = publishedText === "" ? undefined : toRange(publishedText);
  if (publishedText !== "" && published === undefined)
    return `\`published\` ${JSON.stringify(publishedText)}: expected a port or a range`;
  return {
    target,
    published: chosen(published),
    hostIp: textOf(memberOf(entry, "host_ip")) || undefined,
    protocol: (textOf(memberOf(entry, "protocol")) || "tcp").toLowerCase(),
  };
}

/** Port 0 asks for a free one. */
const chosen = (range: PortRange | undefined): PortRange | undefined => (range?.to === 0 ? undefined : range);

function toRange(text: string): PortRange | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const from = Number(match[1]);
  const to = Number(match[2] ?? match[1]);
  return from <= to && to < 65_536 ? { from, to } : undefined;
}

/** An address without the zone that some add to it. */
const isAddress = (text: string): boolean => isIP(text) !== 0 && !text.includes("%");
