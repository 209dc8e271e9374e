/**
 * How docker compose lays one mapping over another: documents of one file in order, and a service
 * over the one it extends. Mappings merge, lists join, the rest is replaced; what is written as a
 * list or a mapping of `KEY=value` merges by key. A key without a value takes nothing away.
 */
import { ComposeError } from "../errors.ts";
import { memberOf, textOf, type ComposeNode, type ListNode, type MapNode, type ScalarNode } from "./node.ts";

type Path = readonly string[];

/** @throws ComposeError `compose-invalid` where a mapping is laid over a list or the like */
export function mergeMaps(base: MapNode, over: MapNode, path: Path): MapNode {
  const entries = new Map(base.entries);
  for (const [key, value] of over.entries) {
    const before = entries.get(key);
    if (value.tag === "reset") entries.delete(key);
    else if (before === undefined || key.startsWith("x-") || value.tag === "override")
      entries.set(key, withoutResets(value));
    else if (!isNothing(value) || TAKES_NOTHING.has(ruleOf([...path, key])))
      entries.set(key, merge(before, value, [...path, key]));
  }
  return { kind: "map", entries, place: over.place };
}

const isNothing = (node: ComposeNode): boolean => node.kind === "scalar" && node.value === null;

/** Without what is marked `!reset`: where there is nothing below it, it is nothing. */
export function withoutResets<T extends ComposeNode>(node: T, done = new Map<ComposeNode, ComposeNode>()): T {
  if (node.kind === "scalar") return node;
  const before = done.get(node);
  if (before !== undefined) return before as T;
  let isSame = true;
  const clean = (value: ComposeNode): ComposeNode => {
    const cleaned = withoutResets(value, done);
    if (cleaned !== value) isSame = false;
    return cleaned;
  };
  const rest =
    node.kind === "list"
      ? { ...node, items: node.items.map(clean) }
      : {
          ...node,
          entries: new Map(
            [...node.entries].flatMap(([key, value]): [string, ComposeNode][] => {
              if (value.tag !== "reset") return [[key, clean(value)]];
              isSame = false;
              return [];
            }),
          ),
        };
  // What is shared stays shared where nothing was taken from it.
  const result = isSame ? node : (rest as T);
  done.set(node, result);
  return result;
}

function merge(base: ComposeNode, over: ComposeNode, path: Path): ComposeNode {
  switch (ruleOf(path)) {
    case "replace":
      return over;
    case "pairs":
      return pairs(base, over);
    case "names":
      return mergeMaps(named(base, path), named(over, path), path);
    case "texts":
      return joined(listed(base), listed(over));
    case "hosts":
      return once(joined(hosts(base), hosts(over)));
    case "logging": {
      if (isNothing(over)) throw cannotMerge(path, over);
      const [old, fresh] = [base, over].map((node) => memberOf(node, "driver"));
      if (old !== undefined && fresh !== undefined && textOf(old) !== textOf(fresh)) return over;
      break;
    }
    case "build":
      return mergeMaps(asBuild(base), asBuild(over), path);
    default:
      break;
  }
  if (base.kind === "map") {
    if (over.kind !== "map") throw cannotMerge(path, over);
    return mergeMaps(base, over, path);
  }
  if (base.kind === "list") {
    if (over.kind !== "list") throw cannotMerge(path, over);
    return joined(base, over);
  }
  return over;
}

type Rule = "hosts" | "replace" | "pairs" | "names" | "texts" | "logging" | "build";
/** Rules by which nothing laid over something is not just left out. */
const TAKES_NOTHING: ReadonlySet<Rule | undefined> = new Set(["replace", "logging"]);
const SERVICE_RULES: Readonly<Record<string, Rule>> = {
  command: "replace",
  entrypoint: "replace",
  environment: "pairs",
  labels: "pairs",
  annotations: "pairs",
  sysctls: "pairs",
  "deploy.labels": "pairs",
  "build.args": "pairs",
  "build.labels": "pairs",
  "build.additional_contexts": "pairs",
  "healthcheck.test": "replace",
  extra_hosts: "hosts",
  "build.extra_hosts": "hosts",
  depends_on: "names",
  networks: "names",
  dns: "texts",
  dns_opt: "texts",
  dns_search: "texts",
  env_file: "texts",
  tmpfs: "texts",
  logging: "logging",
  build: "build",
};

function ruleOf([top, , ...rest]: Path): Rule | undefined {
  if (top === "services") return rest[0] === "ulimits" && rest.length === 2 ? "replace" : SERVICE_RULES[rest.join(".")];
  return rest.join(".") === "labels" ? "pairs" : undefined;
}

/** `KEY=value` lists and mappings as one mapping, a later key in the place of an earlier. */
function pairs(base: ComposeNode, over: ComposeNode): ComposeNode {
  return {
    kind: "map",
    entries: new Map([...pairsOf(base), ...pairsOf(over)]),
    place: over.place,
  };
}

/** The pairs of a mapping, or of a list of `KEY=value`; a key without `=` has no value. */
export function pairsOf(node: ComposeNode | undefined): readonly (readonly [string, ComposeNode])[] {
  if (node?.kind === "map") return [...node.entries];
  if (node?.kind !== "list") return [];
  return node.items.flatMap((item): (readonly [string, ComposeNode])[] => {
    const text = textOf(item);
    if (item.kind !== "scalar" || text === undefined) return [];
    const equals = text.indexOf("=");
    return equals < 0
      ? [[text, { ...item, value: null }]]
      : [[text.slice(0, equals), { ...item, value: text.slice(equals + 1) }]];
  });
}

/** A list of names as a mapping from them. */
function named(node: ComposeNode, path: Path): MapNode {
  if (node.kind === "map") return node;
  const value = (item: ComposeNode): ComposeNode =>
    path.at(-1) === "depends_on"
      ? { kind: "map", entries: new Map([["condition", scalarOf("service_started", item)]]), place: item.place }
      : scalarOf(null, item);
  const items = node.kind === "list" ? node.items : [];
  const entries = items.flatMap((item): [string, ComposeNode][] => {
    const name = textOf(item);
    return name === undefined ? [] : [[name, value(item)]];
  });
  return { kind: "map", entries: new Map(entries), place: node.place };
}

const scalarOf = (value: string | null, { place }: ComposeNode): ScalarNode => ({
  kind: "scalar",
  value,
  raw: value ?? "",
  parts: [],
  variables: [],
  style: "plain",
  place,
});

/** `host: address` as a list of `host=address`. */
function hosts(node: ComposeNode): ListNode {
  if (node.kind !== "map") return listed(node);
  const items = [...node.entries].flatMap(([host, addresses]) =>
    listed(addresses).items.map((address) => scalarOf(`${host}=${textOf(address) ?? ""}`, address)),
  );
  return { kind: "list", items, place: node.place };
}

/** What both lists have stands once. */
function once(list: ListNode): ListNode {
  const byText = new Map(list.items.map((item) => [textOf(item) ?? item, item]));
  return { ...list, items: [...byText.values()] };
}

const asBuild = (node: ComposeNode): MapNode =>
  node.kind === "map" ? node : { kind: "map", entries: new Map([["context", node]]), place: node.place };

const listed = (node: ComposeNode): ListNode =>
  node.kind === "list" ? node : { kind: "list", items: [node], place: node.place };

const joined = (base: ListNode, over: ListNode): ListNode => ({
  kind: "list",
  items: [...base.items, ...over.items],
  place: over.place,
});

const cannotMerge = (path: Path, { place }: ComposeNode): ComposeError =>
  new ComposeError(
    "compose-invalid",
    `line ${place.line}: ${path.join(".")} cannot be laid over what is written for it earlier`,
    { facts: { line: place.line } },
  );
