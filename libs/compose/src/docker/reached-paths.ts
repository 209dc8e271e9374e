/** Every way in which files of the guest, or something mounted by its kernel, get into a container. */
import { pairsOf } from "./merge.ts";
import { isTrue, itemsOf, memberOf, outsideVariable, textOf, type ComposeNode, type Place } from "./node.ts";
import type { ComposeFile, ComposeService } from "./read-compose-file.ts";
import { mountsOf } from "./volumes.ts";

export type Reached =
  /** A file or folder of the guest. */
  | { readonly path: string; readonly isReadOnly: boolean; readonly isMount: boolean; readonly place: Place }
  /** What no container could mount by itself. */
  | { readonly mounted: "device" | "plugin"; readonly what: string; readonly place: Place }
  /** A variable decides from outside. */
  | { readonly key: string; readonly variable: string; readonly place: Place };

export const reachedBy = (service: ComposeService, file: ComposeFile): readonly Reached[] => [
  ...byVolumes(service, file),
  ...bySecrets(service.node, file, "secrets"),
  ...bySecrets(service.node, file, "configs"),
  ...byFilesOfVariables(service.node, file),
  ...byBuild(service.node, file),
];

function byVolumes(service: ComposeService, file: ComposeFile): readonly Reached[] {
  const entries = itemsOf(memberOf(service.node, "volumes"));
  return mountsOf(service).flatMap((mount, i): readonly Reached[] => {
    const entry = entries[i];
    if (entry === undefined) return [];
    const variable = sourceVariable(entry, file);
    if (variable !== undefined) return [{ key: "volumes", variable, place: entry.place }];
    if ("invalid" in mount) return [];
    const { type, source, place } = mount;
    if (type === "volume") return byDriver(memberOf(memberOf(file.root, "volumes"), source ?? ""), place);
    if (type !== "bind") return type === "tmpfs" ? [] : [{ mounted: "plugin", what: `type: ${type}`, place }];
    return source === undefined ? [] : [{ path: source, isReadOnly: isReadOnly(entry, file), isMount: true, place }];
  });
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
  const volume = memberOf(memberOf(file.root, "volumes"), source ?? "");
  const options = memberOf(volume, "driver_opts");
  return own ?? deciding(memberOf(volume, "driver"), ...["type", "o", "device"].map((key) => memberOf(options, key)));
}

/** Only where nothing from outside has a say in it. */
function isReadOnly(entry: ComposeNode, file: ComposeFile): boolean {
  if (entry.kind === "map") {
    const flag = memberOf(entry, "read_only");
    return isTrue(flag) && outsideVariable(flag, file.maySend) === undefined;
  }
  if (outsideVariable(entry, file.maySend) !== undefined) return false;
  return isReadOnlyIn(/^[^:]+:[^:]+:([^:]+)$/.exec(textOf(entry) ?? "")?.[1] ?? "");
}

const isReadOnlyIn = (options: string): boolean => {
  const words = options.split(",");
  return words.includes("ro") && !words.includes("rw");
};

/** File systems that hold nothing of the guest. */
const REMOTE_OR_EMPTY = /^(?:tmpfs|nfs4?|cifs|smb3)$/;

/** The local driver mounts what it is told, by the guest's kernel; another one is a program with Docker's own rights. */
function byDriver(volume: ComposeNode | undefined, place: Place): readonly Reached[] {
  const driver = textOf(memberOf(volume, "driver")) ?? "";
  if (!/^(?:local|default)?$/.test(driver)) return [{ mounted: "plugin", what: `driver: ${driver}`, place }];
  const options = memberOf(volume, "driver_opts");
  const [type, o, device] = ["type", "o", "device"].map((key) => textOf(memberOf(options, key)));
  if (/\br?bind\b/.test(o ?? "") || type === "none")
    return [{ path: device ?? "/", isReadOnly: isReadOnlyIn(o ?? ""), isMount: true, place }];
  if (type === undefined && device === undefined) return [];
  const isLocal = type !== "tmpfs" && /^\/(?!\/)/.test(device ?? "");
  return REMOTE_OR_EMPTY.test(type ?? "") && !isLocal
    ? []
    : [{ mounted: "device", what: `type: ${type ?? ""}, device: ${device ?? ""}`, place }];
}

/** What docker compose hands over from a file, to be read. */
function bySecrets(
  node: ComposeNode | undefined,
  file: ComposeFile,
  section: "secrets" | "configs",
): readonly Reached[] {
  return itemsOf(memberOf(node, section)).flatMap((item) => {
    const source = textOf(item.kind === "map" ? memberOf(item, "source") : item);
    return byText(memberOf(memberOf(memberOf(file.root, section), source ?? ""), "file"), section, item.place, file);
  });
}

/** The app's own variables, which lie among the guest's secrets. */
const APP_VARIABLES = /^\/dstack\/\.host-shared\/\.decrypted-env$/;

function byFilesOfVariables(node: ComposeNode, file: ComposeFile): readonly Reached[] {
  return ["env_file", "label_file"].flatMap((key) => {
    const written = memberOf(node, key);
    const entries = written?.kind === "list" ? written.items : written === undefined ? [] : [written];
    return entries
      .map((entry) => (entry.kind === "map" ? memberOf(entry, "path") : entry))
      .filter((path) => !APP_VARIABLES.test(textOf(path) ?? ""))
      .flatMap((path) => byText(path, key, written?.place ?? node.place, file));
  });
}

/** Does not lie in the guest. */
const REMOTE = /^(?:https?:|git:|ssh:|git@|github\.com\/|docker-image:|service:|target:)/;

/** A build gets all of its context, which is the project's folder where none is named. */
function byBuild(node: ComposeNode, file: ComposeFile): readonly Reached[] {
  const build = memberOf(node, "build");
  if (build === undefined) return [];
  const { place } = build;
  const context = build.kind === "map" ? memberOf(build, "context") : build;
  return [
    ...(context === undefined
      ? [{ path: ".", isReadOnly: true, isMount: false, place }]
      : byText(context, "build", place, file)),
    ...pairsOf(memberOf(build, "additional_contexts")).flatMap(([, at]) => byText(at, "build", place, file)),
    ...bySecrets(build, file, "secrets"),
  ].filter((reached) => !("path" in reached) || !REMOTE.test(reached.path));
}

function byText(node: ComposeNode | undefined, key: string, place: Place, file: ComposeFile): readonly Reached[] {
  const variable = outsideVariable(node, file.maySend);
  const path = textOf(node);
  return [
    ...(variable === undefined ? [] : [{ key, variable, place }]),
    ...(path === undefined ? [] : [{ path, isReadOnly: true, isMount: false, place }]),
  ];
}
