/** `extends`: a service laid over another one of the same document, as docker compose does it. */
import { ComposeError } from "../errors.ts";
import { mergeMaps } from "./merge.ts";
import { memberOf, membersOf, textOf, type ComposeNode, type MapNode } from "./node.ts";

/**
 * The document with every service laid over the one it extends. A service that extends one of
 * another file is left as it is, `extends` and all.
 * @throws ComposeError `compose-invalid` for a service that is not there, and for a circle
 */
export function extendServices(document: MapNode): MapNode {
  const services = memberOf(document, "services");
  if (services?.kind !== "map") return document;
  if (![...services.entries.values()].some((service) => memberOf(service, "extends") !== undefined)) return document;
  const done = new Map<string, ComposeNode>();
  const entries = membersOf(services).map(([name, service]): [string, ComposeNode] => [
    name,
    extended(name, services, done, []) ?? service,
  ]);
  return {
    ...document,
    entries: new Map(document.entries).set("services", { ...services, entries: new Map(entries) }),
  };
}

function extended(
  name: string,
  services: MapNode,
  done: Map<string, ComposeNode>,
  below: readonly string[],
): ComposeNode | undefined {
  const finished = done.get(name);
  if (finished !== undefined) return finished;
  const service = services.entries.get(name);
  const reference = memberOf(service, "extends");
  if (
    service?.kind !== "map" ||
    reference === undefined ||
    reference.tag === "reset" ||
    memberOf(reference, "file") !== undefined
  )
    return service;
  const { line } = reference.place;
  if (below.includes(name))
    throw new ComposeError(
      "compose-invalid",
      `line ${line}: services extend each other in a circle: ${[...below, name].join(", ")}`,
      { facts: { line } },
    );
  const base = textOf(reference.kind === "map" ? memberOf(reference, "service") : reference);
  if (base === undefined || !services.entries.has(base))
    throw new ComposeError(
      "compose-invalid",
      `line ${line}: service ${name} extends ${base ?? "nothing"}, which is no service of this document`,
      { facts: { line } },
    );
  const source = extended(base, services, done, [...below, name]);
  const own = [...service.entries].filter(([key]) => key !== "extends");
  const over: MapNode = { ...service, entries: new Map(own) };
  // A service that is empty, and one that itself extends another file, can only be left alone.
  const result =
    source?.kind !== "map" || source.entries.has("extends") ? service : mergeMaps(source, over, ["services", name]);
  done.set(name, result);
  return result;
}
