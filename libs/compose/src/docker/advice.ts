/**
 * What docker compose would run, and what is still wrong or worth a look in a guest: what does not
 * travel, what cannot be pinned, what is taken, what has powers.
 */
import type { Finding, FindingCode, Severity } from "./finding.ts";
import { listImages, type ServiceImage } from "./images.ts";
import { parseImageReference } from "./image-reference.ts";
import { AGENT_PORT } from "@dstack/proto/wire";
import { ComposeError } from "../errors.ts";
import { isTrue, isUnknown, itemsOf, memberOf, membersOf, textOf, type ComposeNode, type Place } from "./node.ts";
import { pairsOf } from "./merge.ts";
import { portsOf } from "./ports.ts";
import type { PowerKind } from "./power-kind.ts";
import { powersOf } from "./powers.ts";
import type { ComposeFile, ComposeService } from "./read-compose-file.ts";
import { hostPathOf, mountsOf } from "./volumes.ts";

type Add = (
  severity: Severity,
  code: FindingCode,
  where: { readonly path: string; readonly service?: string | undefined; readonly place: Place },
  message: string,
) => void;

export function composeAdvice(file: ComposeFile): readonly Finding[] {
  const findings: Finding[] = [];
  const add: Add = (severity, code, { path, service, place }, message) =>
    void findings.push({ severity, code, path, service, line: place.line, message });
  if (file.services.length === 0)
    add("refuse-in-cli", "no-services", { path: "services", place: file.root.place }, "compose file has no services");
  for (const image of listImages(file)) adviseImage(image, add);
  for (const service of file.services) {
    adviseFiles(service, add);
    adviseBuild(service, add);
    advisePorts(service, add);
    adviseDevices(service, add);
    adviseFolders(service, add);
    adviseRestart(service, add);
  }
  adviseTopFiles(file, add);
  for (const { kind, what, service, place } of powersOf(file)) {
    const message = POWERS[kind];
    if (message !== undefined)
      add("advice", "powers", { path: `services.${service}`, service, place }, `${what}: ${message}`);
  }
  return findings.toSorted((a, b) => RANKS.indexOf(a.severity) - RANKS.indexOf(b.severity));
}

const RANKS: readonly Severity[] = ["refuse-everywhere", "refuse-in-cli", "advice"];

const POWERS: Readonly<Partial<Record<PowerKind, string>>> = {
  privileged: "a privileged container can read the disk key and every secret of the guest",
  docker: "who reaches Docker controls the whole guest",
  "host-network": "the container shares the guest's own network, with all its ports",
  "host-pid": "the container sees the guest's own processes, their environment and files",
  "host-ipc": "the container shares the guest's own memory segments",
  "host-namespace": "the container is not kept apart from the guest in this",
  capabilities: "a capability that a container does not have by itself",
  devices: "a device of the guest",
  unconfined: "the container does not run within the usual limits",
  variable: "whoever sets it may give the container power over the guest",
  plugin: "a driver that is not Docker's own runs outside of containers, with Docker's rights",
  "guest-files": "a file or folder of the guest, where its keys, secrets, programs and settings lie",
};

function adviseImage({ service, image, isPinned, mutableBy, line }: ServiceImage, add: Add): void {
  const where = { path: `services.${service}.image`, service, place: { start: 0, end: 0, line } };
  if (image !== undefined && image !== "") {
    try {
      parseImageReference(image);
    } catch (error) {
      if (!(error instanceof ComposeError)) throw error;
      add("refuse-in-cli", "image-invalid", where, error.message);
      return;
    }
  }
  if (isPinned) return;
  if (mutableBy !== undefined)
    add(
      "advice",
      "image-mutable",
      where,
      `the image depends on the variable ${mutableBy}, whose value is not written here, or can be another one: it cannot be pinned by digest, and whoever sets the variable chooses what runs`,
    );
  else if (image !== undefined && image !== "")
    add(
      "advice",
      "image-mutable",
      where,
      `image ${image} is not pinned by digest: whoever controls the registry can change what runs; write ${image.split("@")[0]}@sha256:...`,
    );
}

/** Files beside the compose file stay where its author has them. */
function adviseFiles({ name, node }: ComposeService, add: Add): void {
  const refuse = (key: string, place: Place, message: string): void =>
    add("refuse-in-cli", "file-on-your-disk", { path: `services.${name}.${key}`, service: name, place }, message);
  const envFile = memberOf(node, "env_file");
  for (const entry of envFile?.kind === "list" ? envFile.items : envFile === undefined ? [] : [envFile]) {
    const required = memberOf(entry, "required");
    if (required !== undefined && !isTrue(required)) continue;
    const path = textOf(entry.kind === "map" ? memberOf(entry, "path") : entry) ?? "the file";
    refuse(
      "env_file",
      entry.place,
      `${path} does not travel to the guest; send its variables with --env-file, or write \`required: false\``,
    );
  }
  const credentials = memberOf(memberOf(node, "credential_spec"), "file");
  if (credentials !== undefined)
    refuse("credential_spec", credentials.place, `${textOf(credentials) ?? "the file"} does not travel to the guest`);
  const labels = memberOf(node, "label_file");
  if (labels !== undefined)
    refuse("label_file", labels.place, "the file does not travel to the guest; write the labels under `labels`");
  const base = memberOf(node, "extends");
  const file = textOf(memberOf(base, "file"));
  if (base !== undefined && file !== undefined)
    refuse("extends", base.place, `${file} does not travel to the guest; put the service into this file`);
}

function adviseTopFiles({ root }: ComposeFile, add: Add): void {
  const include = memberOf(root, "include");
  if (itemsOf(include).length > 0 && include !== undefined)
    add(
      "refuse-in-cli",
      "file-on-your-disk",
      { path: "include", place: include.place },
      "included files do not travel to the guest; print all in one with `docker compose config`",
    );
  for (const section of ["configs", "secrets"])
    for (const [name, node] of membersOf(memberOf(root, section))) {
      const file = memberOf(node, "file");
      if (file === undefined) continue;
      const instead = section === "configs" ? "`content` or `environment`" : "`environment`, and send the variable";
      const message = `${textOf(file) ?? "the file"} does not travel to the guest; use ${instead}`;
      add("refuse-in-cli", "file-on-your-disk", { path: `${section}.${name}.file`, place: file.place }, message);
    }
}

function adviseBuild({ name, node }: ComposeService, add: Add): void {
  const build = memberOf(node, "build");
  if (build === undefined) return;
  const where = { path: `services.${name}.build`, service: name, place: build.place };
  const written = build.kind === "map" ? memberOf(build, "context") : build;
  const unknown = written?.kind === "scalar" && isUnknown(written) ? written.variables[0] : undefined;
  const context = unknown === undefined ? (textOf(written) ?? ".") : `what the variable ${unknown} names`;
  const local = [
    ...(memberOf(build, "dockerfile_inline") === undefined ? [context] : []),
    ...pairsOf(memberOf(build, "additional_contexts")).map(([, value]) => textOf(value) ?? ""),
  ].find((path) => !REMOTE.test(path));
  if (local !== undefined)
    add(
      "refuse-in-cli",
      "file-on-your-disk",
      where,
      `${local} does not travel to the guest; build the image here, push it to a registry and name it under \`image\``,
    );
  else
    add(
      "advice",
      "build",
      where,
      "the guest image cannot build images yet; build it here, push it and name it under `image`",
    );
}

/** What a build can fetch by itself. */
const REMOTE = /^(?:https?:|git:|ssh:|git@|github\.com\/|docker-image:|oci-layout:|service:|target:)|\.git(?:[#?]|$)/;

function advisePorts(service: ComposeService, add: Add): void {
  // What ends the reading of the file is said there.
  for (const { message, place, endsReading } of portsOf(service).invalid)
    if (!endsReading)
      add(
        "refuse-in-cli",
        "wrong-value",
        { path: `services.${service.name}.ports`, service: service.name, place },
        message,
      );
  if (!service.active) return;
  for (const { published, protocol, place } of portsOf(service).ports)
    if (protocol === "tcp" && published?.from === AGENT_PORT && published.to === AGENT_PORT)
      add(
        "refuse-in-cli",
        "port-of-the-guest",
        { path: `services.${service.name}.ports`, service: service.name, place },
        `port ${AGENT_PORT} of the guest is taken by its agent; publish another one`,
      );
}

function adviseDevices({ name, node }: ComposeService, add: Add): void {
  const reservations = memberOf(memberOf(memberOf(node, "deploy"), "resources"), "reservations");
  const isGpu = (device: ComposeNode): boolean =>
    itemsOf(memberOf(device, "capabilities")).some((capability) => /gpu|nvidia|cuda/i.test(textOf(capability) ?? ""));
  const runtime = memberOf(node, "runtime");
  const at =
    memberOf(node, "gpus") ??
    itemsOf(memberOf(reservations, "devices")).find(isGpu) ??
    (textOf(runtime) === "nvidia" ? runtime : undefined);
  if (at !== undefined)
    add(
      "advice",
      "gpu",
      { path: `services.${name}`, service: name, place: at.place },
      "it asks for a GPU, and this guest image has no driver for one",
    );
}

/** Docker's own rule, which it applies when the container is made. */
const RESTART = /^(?:|no|always|unless-stopped|on-failure(?::\d+)?)$/;

function adviseRestart({ name, node }: ComposeService, add: Add): void {
  const restart = memberOf(node, "restart");
  const policy = textOf(restart);
  if (restart !== undefined && policy !== undefined && !RESTART.test(policy))
    add(
      "refuse-in-cli",
      "wrong-value",
      { path: `services.${name}.restart`, service: name, place: restart.place },
      `${policy}: expected no, always, unless-stopped or on-failure with an optional count; Docker would not make the container`,
    );
}

function adviseFolders(service: ComposeService, add: Add): void {
  for (const mount of mountsOf(service)) {
    const path = "invalid" in mount ? undefined : hostPathOf(mount);
    if (path === undefined || !/^[.~]/.test(path)) continue;
    add(
      "advice",
      "volatile-folder",
      { path: `services.${service.name}.volumes`, service: service.name, place: mount.place },
      `${path} is relative to a folder that is empty at every start; use a named volume for what must stay`,
    );
  }
}
