/**
 * What a value may look like, as small functions: each takes a value and reports what is wrong
 * with it. A value that depends on an unknown variable is right everywhere.
 */
import type { FindingCode } from "../finding.ts";
import { isUnknown, type ComposeNode, type ScalarNode } from "../node.ts";

export interface Report {
  (node: ComposeNode, path: string, code: FindingCode, message: string): void;
}
export type Shape = (node: ComposeNode, path: string, report: Report) => void;

/** A shape for each kind of value; a kind without one is wrong. */
export function oneOf(kinds: { scalar?: Shape; list?: Shape; map?: Shape }): Shape {
  return (node, path, report) => {
    if (isUnknown(node)) return;
    const shape = kinds[node.kind];
    if (shape === undefined) report(node, path, "wrong-type", `expected ${namesOf(kinds)}, got ${kindOf(node)}`);
    else shape(node, path, report);
  };
}

/** A mapping with these keys, and `x-...` where extensions are allowed, and any other where it is open. */
export function mapping(
  keys: Readonly<Record<string, Shape>>,
  options: { required?: readonly string[]; extensions?: boolean; isOpen?: boolean } = {},
): Shape {
  const known = new Map(Object.entries(keys));
  return oneOf({
    map: (node, path, report) => {
      if (node.kind !== "map") return;
      for (const [key, value] of node.entries) {
        const shape = known.get(key);
        if (shape !== undefined) shape(value, join(path, key), report);
        else if (options.isOpen !== true && (options.extensions === false || !key.startsWith("x-")))
          report(value, join(path, key), "unknown-key", `unknown key ${key}${suggestion(key, known.keys())}`);
      }
      for (const key of options.required ?? [])
        if (!node.entries.has(key)) report(node, path, "missing-key", `\`${key}\` is missing`);
    },
  });
}

/** A mapping from names to values of one shape; `elsewhere` is the shape of what has another name. */
export function mapOf(value: Shape, name?: RegExp, elsewhere?: Shape): Shape {
  return oneOf({
    map: (node, path, report) => {
      if (node.kind !== "map") return;
      for (const [key, member] of node.entries) {
        if (name !== undefined && !name.test(key) && elsewhere !== undefined)
          elsewhere(member, join(path, key), report);
        else if (name !== undefined && !name.test(key))
          report(member, join(path, key), "unknown-key", `${JSON.stringify(key)} is no name that can stand here`);
        else value(member, join(path, key), report);
      }
    },
  });
}

export function listOf(item: Shape): Shape {
  return oneOf({
    list: (node, path, report) => {
      if (node.kind === "list") node.items.forEach((value, i) => item(value, `${path}[${i}]`, report));
    },
  });
}

/** A list whose items differ from one another; only single values are compared. */
export function setOf(item: Shape): Shape {
  const list = listOf(item);
  return (node, path, report) => {
    list(node, path, report);
    const seen = new Set<unknown>();
    for (const value of node.kind === "list" ? node.items : []) {
      if (value.kind !== "scalar" || value.value === undefined) continue;
      if (seen.has(value.value)) report(value, path, "wrong-value", `${String(value.value)} stands twice in the list`);
      seen.add(value.value);
    }
  };
}

/** A single value: what it is called, and whether it is one. */
export function scalar(
  expected: string,
  fits: (value: NonNullable<ScalarNode["value"]> | Date | null) => boolean,
): Shape {
  return (node, path, report) => {
    if (node.kind === "scalar" && node.value === undefined) return;
    if (node.kind === "scalar" && node.value !== undefined && fits(node.isDate === true ? new Date(0) : node.value))
      return;
    report(node, path, "wrong-type", `expected ${expected}, got ${kindOf(node)}`);
  };
}

/** What is also nothing at all: a key without a value. */
export const orNothing =
  (shape: Shape): Shape =>
  (node, path, report) => {
    if (node.kind !== "scalar" || node.value !== null) shape(node, path, report);
  };

export const join = (path: string, key: string): string => (path === "" ? key : `${path}.${key}`);

const KINDS = { scalar: "a single value", list: "a list", map: "a mapping" } as const;

const namesOf = (kinds: object): string =>
  Object.entries(KINDS)
    .filter(([kind]) => kind in kinds)
    .map(([, name]) => name)
    .join(" or ");

function kindOf(node: ComposeNode): string {
  if (node.kind !== "scalar") return KINDS[node.kind];
  if (node.value === null) return "nothing";
  return typeof node.value === "string"
    ? JSON.stringify(node.value.slice(0, 60))
    : `the ${typeof node.value} ${node.value}`;
}

/** The key that was meant, where one differs by a letter or an `s`. */
function suggestion(key: string, known: Iterable<string>): string {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, "").replace(/s$/, "");
  for (const other of known) if (plain(other) === plain(key)) return `; did you mean ${other}?`;
  return "";
}
