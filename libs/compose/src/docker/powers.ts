/**
 * Which services may do more than a container should: what lets one read the guest's keys, control
 * its Docker or reach its kernel. In comes a file that was read, out go the powers of each service
 * with the place where they are written; nothing is judged.
 */
import { isTrue, itemsOf, memberOf, outsideVariable, textOf, type ComposeNode, type Place } from "./node.ts";
import type { ComposeFile, ComposeService } from "./read-compose-file.ts";
import { hostPathOf, mountsOf } from "./volumes.ts";

export type PowerKind =
  | "privileged"
  | "docker"
  | "host-network"
  | "host-pid"
  | "host-ipc"
  | "host-namespace"
  | "capabilities"
  | "devices"
  | "unconfined"
  /** The guest's folders with keys, secrets and containers' disks. */
  | "guest-files"
  /** The agent's socket: ordinary, and the app's keys. */
  | "guest-socket"
  /** A variable decides from outside the file whether there is a power. */
  | "variable";

export interface Power {
  readonly service: string;
  readonly kind: PowerKind;
  /** What is written, e.g. `/var/run`. */
  readonly what: string;
  readonly place: Place;
}

/** Powers of all services, active or not, in order. */
export const powersOf = (file: ComposeFile): readonly Power[] =>
  file.services.flatMap((service) => [...ownPowers(service, file.maySend), ...mountedPowers(service, file)]);

function ownPowers({ name, node }: ComposeService, maySend: ReadonlySet<string>): readonly Power[] {
  const found: Power[] = [];
  const add = (kind: PowerKind, what: string, at: ComposeNode): void =>
    void found.push({ service: name, kind, what, place: at.place });
  /** Whether a variable decides, and was told. */
  const isOpen = (key: string, at: ComposeNode): boolean => {
    const variable = outsideVariable(at, maySend);
    if (variable !== undefined) add("variable", decides(key, variable), at);
    return variable !== undefined;
  };
  const privileged = memberOf(node, "privileged");
  if (privileged !== undefined && !isOpen("privileged", privileged) && isTrue(privileged))
    add("privileged", "privileged", privileged);
  for (const key of ["network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup"]) {
    const at = memberOf(node, key);
    if (at !== undefined && !isOpen(key, at) && textOf(at) === "host")
      add(NAMESPACES[key] ?? "host-namespace", `${key}: host`, at);
  }
  for (const at of itemsOf(memberOf(node, "cap_add")))
    if (!isOpen("cap_add", at)) add("capabilities", textOf(at) ?? "", at);
  for (const at of itemsOf(memberOf(node, "devices"))) {
    const source = at.kind === "map" ? memberOf(at, "source") : at;
    if (source !== undefined && !isOpen("devices", source)) add("devices", textOf(source)?.split(":")[0] ?? "", at);
  }
  for (const at of itemsOf(memberOf(node, "device_cgroup_rules")))
    if (!isOpen("device_cgroup_rules", at)) add("devices", textOf(at) ?? "", at);
  for (const at of itemsOf(memberOf(node, "security_opt")))
    if (!isOpen("security_opt", at) && /unconfined|label[:=]disable/.test(textOf(at) ?? ""))
      add("unconfined", textOf(at) ?? "", at);
  for (const key of ["post_start", "pre_stop"])
    for (const hook of itemsOf(memberOf(node, key))) {
      const at = memberOf(hook, "privileged");
      if (at !== undefined && !isOpen(`${key} privileged`, at) && isTrue(at))
        add("privileged", `${key} privileged`, at);
    }
  return found;
}

const decides = (key: string, variable: string): string => `${key}: the variable ${variable} decides`;

const NAMESPACES: Readonly<Record<string, PowerKind>> = {
  network_mode: "host-network",
  pid: "host-pid",
  ipc: "host-ipc",
};

/** Every way in which a file or folder of the guest gets into a container. */
function mountedPowers(service: ComposeService, file: ComposeFile): readonly Power[] {
  const paths: { path: string; place: Place }[] = [];
  const found: Power[] = [];
  const open = (key: string, variable: string, place: Place): void =>
    void found.push({ service: service.name, kind: "variable", what: decides(key, variable), place });
  for (const entry of itemsOf(memberOf(service.node, "volumes"))) {
    const variable = sourceVariable(entry, file);
    if (variable !== undefined) open("volumes", variable, entry.place);
  }
  for (const mount of mountsOf(service)) {
    if ("invalid" in mount) continue;
    const path = hostPathOf(mount) ?? boundVolume(file, mount.source);
    if (path !== undefined) paths.push({ path, place: mount.place });
  }
  for (const section of ["secrets", "configs"])
    for (const item of itemsOf(memberOf(service.node, section))) {
      const source = textOf(item.kind === "map" ? memberOf(item, "source") : item);
      const node = memberOf(memberOf(memberOf(file.root, section), source ?? ""), "file");
      const variable = outsideVariable(node, file.maySend);
      const path = textOf(node);
      if (variable !== undefined) open(section, variable, item.place);
      if (path !== undefined) paths.push({ path, place: item.place });
    }
  for (const { path, place } of paths) {
    const kind = kindOfPath(normalised(path));
    if (kind !== undefined) found.push({ service: service.name, kind, what: path, place });
  }
  return found;
}

/** The variable that decides from outside what is mounted; where it goes inside the container is all one. */
function sourceVariable(entry: ComposeNode, file: ComposeFile): string | undefined {
  const deciding = (...nodes: readonly (ComposeNode | undefined)[]): string | undefined =>
    nodes.map((node) => outsideVariable(node, file.maySend)).find((variable) => variable !== undefined);
  const written = entry.kind === "map" ? undefined : /^([^$:]+):/.exec(entry.kind === "scalar" ? entry.raw : "")?.[1];
  const own =
    entry.kind === "map"
      ? deciding(memberOf(entry, "type"), memberOf(entry, "source"))
      : written === undefined
        ? deciding(entry)
        : undefined;
  const source = entry.kind === "map" ? textOf(memberOf(entry, "source")) : (written ?? textOf(entry)?.split(":")[0]);
  const options = memberOf(memberOf(memberOf(file.root, "volumes"), source ?? ""), "driver_opts");
  return own ?? deciding(...["type", "o", "device"].map((key) => memberOf(options, key)));
}

/** A named volume may be a folder of the guest by its driver's options. */
function boundVolume(file: ComposeFile, source: string | undefined): string | undefined {
  const options = memberOf(memberOf(memberOf(file.root, "volumes"), source ?? ""), "driver_opts");
  return /(?:^|,)r?bind(?:,|$)/.test(textOf(memberOf(options, "o")) ?? "") ||
    textOf(memberOf(options, "type")) === "none"
    ? textOf(memberOf(options, "device"))
    : undefined;
}

const DOCKER = ["/run/docker.sock", "/run/containerd", "/run/docker", "/var/lib/docker", "/var/lib/containerd"];
const AGENT = ["/run/dstack.sock", "/run/tappd.sock", "/run/dstack"];
const GUEST = [
  "/dstack/.host-shared",
  "/dstack/persistent",
  "/var/volatile/dstack",
  "/tmp/.host-shared",
  "/etc/docker",
  "/etc/wireguard",
  "/proc",
  "/sys",
  "/dev",
];

/** A folder gives what lies in it: `/run` and `/` hold Docker's socket as well. */
function kindOfPath(path: string): PowerKind | undefined {
  const touches = (place: string): boolean =>
    path === place || path.startsWith(`${place}/`) || place.startsWith(path === "/" ? "/" : `${path}/`);
  if (DOCKER.some(touches)) return "docker";
  if (GUEST.some(touches)) return "guest-files";
  return AGENT.some(touches) ? "guest-socket" : undefined;
}

/** The project lies in /dstack, root's home is /root, and /var/run is /run. */
function normalised(path: string): string {
  const absolute = path.startsWith("~") ? `/root/${path.slice(1)}` : path.startsWith("/") ? path : `/dstack/${path}`;
  const parts: string[] = [];
  for (const part of absolute.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`.replace(/^\/var\/run(?=\/|$)/, "/run");
}
