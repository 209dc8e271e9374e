/**
 * Which services may do more than a container should: what lets one read the guest's keys, control
 * its Docker or reach its kernel. In comes a file that was read, out go the powers of each service
 * with the place where they are written; nothing is judged.
 */
import { isTrue, itemsOf, memberOf, textOf, type ComposeNode, type Place } from "./node.ts";
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
  | "guest-socket";

export interface Power {
  readonly service: string;
  readonly kind: PowerKind;
  /** What is written, e.g. `/var/run`. */
  readonly what: string;
  readonly place: Place;
}

/** Powers of all services, active or not, in order. */
export const powersOf = (file: ComposeFile): readonly Power[] =>
  file.services.flatMap((service) => [...ownPowers(service), ...mountedPowers(service, file)]);

function ownPowers({ name, node }: ComposeService): readonly Power[] {
  const found: Power[] = [];
  const add = (kind: PowerKind, what: string, at: ComposeNode): void =>
    void found.push({ service: name, kind, what, place: at.place });
  const privileged = memberOf(node, "privileged");
  if (privileged !== undefined && isTrue(privileged)) add("privileged", "privileged", privileged);
  for (const key of ["network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup"]) {
    const at = memberOf(node, key);
    if (at !== undefined && textOf(at) === "host") add(NAMESPACES[key] ?? "host-namespace", `${key}: host`, at);
  }
  for (const at of itemsOf(memberOf(node, "cap_add"))) add("capabilities", textOf(at) ?? "a variable", at);
  for (const at of itemsOf(memberOf(node, "devices")))
    add(
      "devices",
      (at.kind === "map" ? textOf(memberOf(at, "source")) : textOf(at)?.split(":")[0]) ?? "a variable",
      at,
    );
  for (const at of itemsOf(memberOf(node, "device_cgroup_rules"))) add("devices", textOf(at) ?? "a variable", at);
  for (const at of itemsOf(memberOf(node, "security_opt")))
    if (/unconfined|label[:=]disable/.test(textOf(at) ?? "")) add("unconfined", textOf(at) ?? "", at);
  for (const key of ["post_start", "pre_stop"])
    for (const hook of itemsOf(memberOf(node, key))) {
      const at = memberOf(hook, "privileged");
      if (at !== undefined && isTrue(at)) add("privileged", `${key} privileged`, at);
    }
  return found;
}

const NAMESPACES: Readonly<Record<string, PowerKind>> = {
  network_mode: "host-network",
  pid: "host-pid",
  ipc: "host-ipc",
};

/** Every way in which a file or folder of the guest gets into a container. */
function mountedPowers(service: ComposeService, file: ComposeFile): readonly Power[] {
  const paths: { path: string; place: Place }[] = [];
  for (const mount of mountsOf(service)) {
    if ("invalid" in mount) continue;
    const path = hostPathOf(mount) ?? boundVolume(file, mount.source);
    if (path !== undefined) paths.push({ path, place: mount.place });
  }
  for (const section of ["secrets", "configs"])
    for (const item of itemsOf(memberOf(service.node, section))) {
      const source = textOf(item.kind === "map" ? memberOf(item, "source") : item);
      const path = textOf(memberOf(memberOf(memberOf(file.root, section), source ?? ""), "file"));
      if (path !== undefined) paths.push({ path, place: item.place });
    }
  return paths.flatMap(({ path, place }) => {
    const kind = kindOfPath(normalised(path));
    return kind === undefined ? [] : [{ service: service.name, kind, what: path, place }];
  });
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
