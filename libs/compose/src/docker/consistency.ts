/**
 * What docker compose refuses beyond keys and types: names that nothing answers to, settings that
 * exclude each other, circles. Services that a profile leaves out are not looked at, as there.
 */
import type { FindingCode } from "./finding.ts";
import { isTrue, isUnknown, itemsOf, memberOf, membersOf, textOf, type ComposeNode, type MapNode } from "./node.ts";
import { portsOf } from "./ports.ts";
import type { ComposeFile, ComposeService } from "./read-compose-file.ts";
import { mountsOf } from "./volumes.ts";

export type Report = (node: { place: ComposeNode["place"] }, path: string, code: FindingCode, message: string) => void;

export function checkConsistency(file: ComposeFile, report: Report): void {
  const services = memberOf(file.root, "services");
  // What is no mapping has been refused as that.
  const active = file.services.filter(({ name, active }) => active && memberOf(services, name)?.kind === "map");
  const hasInclude = file.root.entries.has("include");
  for (const service of file.services) checkForms(service, report);
  const running: ReadonlySet<string> = new Set(active.map(({ name }) => name));
  for (const service of active) {
    checkService(service, report);
    // What other files define is not seen from here.
    if (!hasInclude) checkReferences(service, file.root, running, report);
  }
  checkCircles(active, report);
  checkSources(file.root, report);
}

/** Checked even of a service that does not start. */
function checkForms(service: ComposeService, report: Report): void {
  const path = `services.${service.name}`;
  for (const { message, place, endsReading } of portsOf(service).invalid)
    if (endsReading) report({ place }, `${path}.ports`, "wrong-value", message);
  for (const mount of mountsOf(service))
    if ("invalid" in mount) report(mount, `${path}.volumes`, "wrong-value", mount.invalid);
  for (const device of itemsOf(memberOf(service.node, "devices")))
    if ((textOf(device)?.split(":").length ?? 0) > 3)
      report(device, `${path}.devices`, "wrong-value", "expected device[:device[:permissions]]");
  const reservations = memberOf(memberOf(memberOf(service.node, "deploy"), "resources"), "reservations");
  for (const device of itemsOf(memberOf(reservations, "devices")))
    if (memberOf(device, "count") !== undefined && memberOf(device, "device_ids") !== undefined)
      report(device, `${path}.deploy`, "conflict", "`count` and `device_ids` exclude each other");
}

function checkService({ name, node, image, place }: ComposeService, report: Report): void {
  const path = `services.${name}`;
  const isImageless = image === undefined || image.value === "";
  if (isImageless && memberOf(node, "build") === undefined && memberOf(node, "extends") === undefined)
    report({ place }, path, "missing-key", "service has no `image`");
  const first = itemsOf(memberOf(memberOf(node, "healthcheck"), "test"))[0];
  if (first !== undefined && !isUnknown(first) && !["CMD", "CMD-SHELL", "NONE"].includes(textOf(first) ?? ""))
    report(first, `${path}.healthcheck.test`, "wrong-value", "a list begins with CMD, CMD-SHELL or NONE");
  const build = memberOf(node, "build");
  if (memberOf(build, "dockerfile") !== undefined && memberOf(build, "dockerfile_inline") !== undefined)
    report(build ?? node, `${path}.build`, "conflict", "`dockerfile` and `dockerfile_inline` exclude each other");
  const resources = memberOf(memberOf(node, "deploy"), "resources");
  for (const [key, kind, name] of SAID_TWICE) {
    const [own, other] = [memberOf(node, key), memberOf(memberOf(resources, kind), name)];
    if (own === undefined || other === undefined || amountOf(own) === amountOf(other)) continue;
    if (!isUnknown(own) && !isUnknown(other))
      report(own, `${path}.${key}`, "conflict", `it differs from deploy.resources.${kind}.${name}`);
  }
  const mode = memberOf(node, "network_mode");
  if (textOf(mode) !== undefined && textOf(mode) !== "" && countOf(memberOf(node, "networks")) > 0)
    report(mode ?? node, `${path}.network_mode`, "conflict", "`network_mode` and `networks` exclude each other");
  const replicas = memberOf(memberOf(node, "deploy"), "replicas");
  const scale = memberOf(node, "scale");
  const [many, wanted] = [numberOf(scale), numberOf(replicas)];
  if (many !== undefined && wanted !== undefined && many !== wanted)
    report(scale ?? node, `${path}.scale`, "conflict", "`scale` and `deploy.replicas` name different numbers");
  if ((many ?? wanted ?? 1) > 1 && (textOf(memberOf(node, "container_name")) ?? "") !== "")
    report(
      memberOf(node, "container_name") ?? node,
      `${path}.container_name`,
      "conflict",
      "several containers cannot have one `container_name`",
    );
}

/** What can be said in two places, and must then be the same. */
const SAID_TWICE = [
  ["mem_limit", "limits", "memory"],
  ["cpus", "limits", "cpus"],
  ["pids_limit", "limits", "pids"],
  ["mem_reservation", "reservations", "memory"],
] as const;

/** A number or size, as a number. */
function amountOf(node: ComposeNode): number {
  const [, amount = "", unit = ""] = /^([\d.]+) ?([kmgtp]?)i?b?$/i.exec(textOf(node) ?? "") ?? [];
  return Number(amount) * 1024 ** " kmgtp".indexOf(unit === "" ? " " : unit.toLowerCase());
}

const numberOf = (node: ComposeNode | undefined): number | undefined => {
  const text = textOf(node);
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
};
const countOf = (node: ComposeNode | undefined): number => itemsOf(node).length + membersOf(node).length;

function checkReferences(service: ComposeService, root: MapNode, running: ReadonlySet<string>, report: Report): void {
  const path = `services.${service.name}`;
  const { node } = service;
  const check = (kind: string, section: string, name: string | undefined, at: ComposeNode | undefined): void => {
    if (name === undefined || memberOf(memberOf(root, section), name) !== undefined) return;
    report(
      at ?? node,
      `${path}.${kind === "secret" || kind === "config" ? `${kind}s` : section}`,
      "undefined-reference",
      `the ${kind} ${name} is not defined; add it under \`${section}:\``,
    );
  };
  for (const [name, at] of namesOf(memberOf(node, "networks")))
    if (name !== "default") check("network", "networks", name, at);
  for (const mount of mountsOf(service))
    if (!("invalid" in mount) && !mount.isUnknown && mount.type === "volume")
      if (mount.source !== "") check("volume", "volumes", mount.source, { ...node, place: mount.place });
  for (const kind of ["secret", "config"])
    for (const item of itemsOf(memberOf(node, `${kind}s`))) check(kind, `${kind}s`, sourceOf(item), item);
  for (const item of itemsOf(memberOf(memberOf(node, "build"), "secrets")))
    check("secret", "secrets", sourceOf(item), item);
  for (const { name, isRequired, at } of dependenciesOf(service))
    if (!running.has(name) && (isRequired || memberOf(memberOf(root, "services"), name) === undefined))
      report(
        at,
        `${path}.depends_on`,
        "undefined-reference",
        `it depends on the service ${name}, which ${root.entries.has("services") && memberOf(memberOf(root, "services"), name) !== undefined ? "a profile leaves out" : "is not defined"}`,
      );
}

/** What a secret or config of a service refers to; undefined where a variable decides. */
function sourceOf(item: ComposeNode): string | undefined {
  const source = item.kind === "map" ? memberOf(item, "source") : item;
  return source === undefined ? "" : textOf(source);
}

interface Dependency {
  readonly name: string;
  readonly isRequired: boolean;
  readonly at: ComposeNode;
}

/** Services that must be there: by `depends_on`, and by sharing links, volumes or namespaces. */
function dependenciesOf({ node }: ComposeService): readonly Dependency[] {
  const needed = (name: string, at: ComposeNode): Dependency => ({ name, isRequired: true, at });
  const own = namesOf(memberOf(node, "depends_on")).map(([name, at]) => {
    const required = memberOf(at, "required");
    return { name, at, isRequired: required === undefined || isTrue(required) };
  });
  const links = itemsOf(memberOf(node, "links")).flatMap((at) => {
    const name = (textOf(at) ?? "").split(":")[0] ?? "";
    return name === "" ? [] : [needed(name, at)];
  });
  const volumes = itemsOf(memberOf(node, "volumes_from")).flatMap((at) => {
    const [name = ""] = (textOf(at) ?? "container").split(":");
    return name === "container" ? [] : [needed(name, at)];
  });
  const shared = ["network_mode", "pid", "ipc", "uts", "cgroup"].flatMap((key) => {
    const at = memberOf(node, key);
    const text = textOf(at);
    return at === undefined || text?.startsWith("service:") !== true ? [] : [needed(text.slice("service:".length), at)];
  });
  return [...own, ...links, ...volumes, ...shared];
}

function namesOf(node: ComposeNode | undefined): readonly (readonly [string, ComposeNode])[] {
  return node?.kind === "map"
    ? membersOf(node)
    : itemsOf(node).flatMap((item): (readonly [string, ComposeNode])[] => {
        const name = textOf(item);
        return name === undefined ? [] : [[name, item]];
      });
}

function checkCircles(services: readonly ComposeService[], report: Report): void {
  const byName = new Map(services.map((service) => [service.name, service]));
  const finished = new Set<string>();
  for (const start of services) {
    // Depth first without recursion: a chain may be as long as the file.
    const open: { name: string; next: Dependency[] }[] = [];
    const enter = (service: ComposeService): void =>
      void open.push({ name: service.name, next: [...dependenciesOf(service)] });
    if (!finished.has(start.name)) enter(start);
    const onPath = new Set([start.name]);
    while (open.length > 0) {
      const top = open.at(-1);
      const dependency = top?.next.pop();
      if (dependency === undefined) {
        finished.add(top?.name ?? "");
        onPath.delete(top?.name ?? "");
        open.pop();
        continue;
      }
      const service = byName.get(dependency.name);
      if (service === undefined || finished.has(service.name)) continue;
      if (onPath.has(service.name)) {
        const names = open.map(({ name }) => name);
        const circle = [...names.slice(names.indexOf(service.name)), service.name].slice(0, 20).join(", ");
        report(
          dependency.at,
          `services.${service.name}.depends_on`,
          "conflict",
          `services wait for each other: ${circle}`,
        );
        return;
      }
      onPath.add(service.name);
      enter(service);
    }
  }
}

/** Secrets and configs have one source, external volumes and networks nothing of their own. */
function checkSources(root: MapNode, report: Report): void {
  for (const [name, node] of membersOf(memberOf(root, "secrets")))
    checkSource(node, `secrets.${name}`, SECRET_SOURCES, report);
  for (const [name, node] of membersOf(memberOf(root, "configs")))
    checkSource(node, `configs.${name}`, CONFIG_SOURCES, report);
  for (const section of ["volumes", "networks"]) {
    for (const [name, node] of membersOf(memberOf(root, section))) {
      const external = memberOf(node, "external");
      if (memberOf(external, "name") !== undefined && memberOf(node, "name") !== undefined)
        report(node, `${section}.${name}`, "conflict", "`name` and `external.name` exclude each other");
      if (section !== "volumes" || node.kind !== "map" || !isExternal(external)) continue;
      const other = [...node.entries.keys()].find(
        (key) => !["external", "name"].includes(key) && !key.startsWith("x-"),
      );
      if (other !== undefined)
        report(node, `volumes.${name}`, "conflict", `an external volume is not made here, so it has no \`${other}\``);
    }
  }
}

const SECRET_SOURCES = ["file", "environment"] as const;
const CONFIG_SOURCES = ["file", "environment", "content"] as const;

const isExternal = (external: ComposeNode | undefined): boolean =>
  external !== undefined && (external.kind === "map" || isUnknown(external) || isTrue(external));

function checkSource(node: ComposeNode, path: string, sources: readonly string[], report: Report): void {
  if (node.kind !== "map") return;
  const given = sources.filter((key) => node.entries.has(key));
  if (given.length > 1) report(node, path, "conflict", `${given.join(" and ")} exclude each other`);
  const isSecret = path.startsWith("secrets.");
  // An empty name of a variable is no source; of a config docker compose does not ask.
  const hasNone = given.length === 0 || (isSecret && given.length === 1 && isEmpty(memberOf(node, "environment")));
  const mayHaveNone = isSecret
    ? isExternal(memberOf(node, "external"))
    : node.entries.has("driver") || node.entries.has("external");
  if (hasNone && !mayHaveNone) report(node, path, "missing-key", `one of ${sources.join(", ")} is needed`);
}

const isEmpty = (node: ComposeNode | undefined): boolean => textOf(node) === "";
