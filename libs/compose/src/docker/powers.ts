/**
 * Which services may do more than a container should: what lets one read the guest's keys, control
 * its Docker or reach its kernel. In comes a file that was read, out go the powers of each service
 * with the place where they are written; nothing is judged.
 */
import { guestPath, isWithin, powerOfPath } from "./guest-paths.ts";
import { isTrue, itemsOf, memberOf, outsideVariable, textOf, type ComposeNode, type Place } from "./node.ts";
import type { ComposeFile, ComposeService } from "./read-compose-file.ts";
import type { PowerKind } from "./power-kind.ts";
import { reachedBy } from "./reached-paths.ts";

export interface Power {
  readonly service: string;
  readonly kind: PowerKind;
  /** What is written, e.g. `/var/run`. */
  readonly what: string;
  readonly place: Place;
}

/** Powers of all services, active or not, in order. */
export function powersOf(file: ComposeFile): readonly Power[] {
  const mounted = writableFolders(file);
  return file.services.flatMap((service) => [
    ...ownPowers(service, file.maySend),
    ...networkPowers(service, file),
    ...buildPowers(service, file),
    ...reachedPowers(service, file, mounted),
  ]);
}

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
    if (!isOpen("security_opt", at) && !USUAL_LIMITS.test(textOf(at) ?? "")) add("unconfined", textOf(at) ?? "", at);
  const runtime = memberOf(node, "runtime");
  if (runtime !== undefined && !isOpen("runtime", runtime) && !USUAL_RUNTIMES.test(textOf(runtime) ?? ""))
    add("unconfined", `runtime: ${textOf(runtime) ?? ""}`, runtime);
  for (const key of ["post_start", "pre_stop"])
    for (const hook of itemsOf(memberOf(node, key))) {
      const at = memberOf(hook, "privileged");
      if (at !== undefined && !isOpen(`${key} privileged`, at) && isTrue(at))
        add("privileged", `${key} privileged`, at);
    }
  return found;
}

/** All other profiles are the app's own, and may allow anything. */
const USUAL_LIMITS =
  /^(?:no-new-privileges(?:[:=].*)?|seccomp[:=]builtin|apparmor[:=]docker-default|label[:=](?!disable).*)$/;
/** Docker's own, and the one for GPUs, which makes the same containers. */
const USUAL_RUNTIMES = /^(?:|runc|nvidia)$/;

const decides = (key: string, variable: string): string => `${key}: the variable ${variable} decides`;

const NAMESPACES: Readonly<Record<string, PowerKind>> = {
  network_mode: "host-network",
  pid: "host-pid",
  ipc: "host-ipc",
};

/** Files of the guest, and what its kernel or a plugin mounts. */
function reachedPowers(service: ComposeService, file: ComposeFile, mounted: readonly string[]): readonly Power[] {
  const found: Power[] = [];
  for (const reached of reachedBy(service, file)) {
    const add = (kind: PowerKind, what: string): void =>
      void found.push({ service: service.name, kind, what, place: reached.place });
    if ("variable" in reached) {
      add("variable", decides(reached.key, reached.variable));
    } else if ("mounted" in reached) {
      add(reached.mounted === "device" ? "devices" : "plugin", reached.what);
    } else {
      const path = guestPath(reached.path);
      // Who writes a folder can put a link in it, and Docker follows the link when it mounts what lies there.
      const isInAnother = reached.isMount && mounted.some((folder) => folder !== path && isWithin(path, folder));
      const kind = powerOfPath(path, reached.isReadOnly) ?? (isInAnother ? "guest-files" : undefined);
      if (kind !== undefined) add(kind, reached.path);
    }
  }
  return found;
}

/** Folders that a container may write. */
const writableFolders = (file: ComposeFile): readonly string[] =>
  file.services.flatMap((service) =>
    reachedBy(service, file).flatMap((reached) =>
      "path" in reached && reached.isMount && !reached.isReadOnly ? [guestPath(reached.path)] : [],
    ),
  );

/** The guest's own network, by any name that the file gives it; a driver that is none of Docker's. */
function networkPowers({ name, node }: ComposeService, file: ComposeFile): readonly Power[] {
  const listed = memberOf(node, "networks");
  const names = listed?.kind === "map" ? [...listed.entries.keys()] : itemsOf(listed).map((item) => textOf(item) ?? "");
  const joined = names.length === 0 && memberOf(node, "network_mode") === undefined ? ["default"] : names;
  return joined.flatMap((key) => {
    const network = memberOf(memberOf(file.root, "networks"), key);
    if (network === undefined) return [];
    const external = memberOf(network, "external");
    const named = memberOf(network, "name") ?? memberOf(external, "name");
    const driver = memberOf(network, "driver");
    const power = (kind: PowerKind, what: string): Power => ({ service: name, kind, what, place: network.place });
    const variable = outsideVariable(external === undefined ? driver : named, file.maySend);
    const actual = textOf(named) ?? (external === undefined ? "" : key);
    return [
      ...(variable === undefined ? [] : [power("variable", decides("networks", variable))]),
      ...(actual === "host" || textOf(driver) === "host" ? [power("host-network", `networks: ${key}: host`)] : []),
      ...(DRIVERS.test(textOf(driver) ?? "") ? [] : [power("plugin", `driver: ${textOf(driver) ?? ""}`)]),
    ];
  });
}

const DRIVERS = /^(?:bridge|default|host|ipvlan|macvlan|none|overlay)?$/;

/** What a build gets beside its context. */
function buildPowers({ name, node }: ComposeService, file: ComposeFile): readonly Power[] {
  const build = memberOf(node, "build");
  const found: Power[] = [];
  const check = (key: string, at: ComposeNode | undefined, isPower: boolean, kind: PowerKind): void => {
    if (at === undefined) return;
    const variable = outsideVariable(at, file.maySend);
    if (variable !== undefined)
      found.push({ service: name, kind: "variable", what: decides(key, variable), place: at.place });
    else if (isPower) found.push({ service: name, kind, what: key, place: at.place });
  };
  const [privileged, network] = ["privileged", "network"].map((key) => memberOf(build, key));
  check("build privileged", privileged, isTrue(privileged), "privileged");
  check("build network: host", network, textOf(network) === "host", "host-network");
  for (const at of itemsOf(memberOf(build, "entitlements"))) check("build entitlements", at, true, "privileged");
  const ssh = memberOf(build, "ssh");
  check("build ssh", ssh, true, "guest-files");
  return found;
}
