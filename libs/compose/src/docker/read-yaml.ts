/**
 * The one place where compose files are read as YAML. In come bytes; out go documents as trees of
 * located values, aliases and merge keys (`<<`) resolved, variables filled in. Nothing here knows
 * what a service is, and no other file imports the YAML library.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  Scalar,
  type Alias,
  type Document,
  type Node,
  type YAMLMap,
} from "yaml";
import { ComposeError } from "../errors.ts";
import { interpolate, type Interpolated, type Variables } from "./interpolate.ts";
import {
  childrenOf,
  type ComposeNode,
  type MapNode,
  type Place,
  type ScalarNode,
  type ScalarStyle,
  type Tag,
} from "./node.ts";
import { isTimestamp, plainScalar } from "./scalar.ts";

export interface MissingVariable {
  readonly variable: string;
  readonly message: string;
  readonly place: Place;
}

export interface YamlDocuments {
  readonly documents: readonly ComposeNode[];
  readonly missing: readonly MissingVariable[];
  /** Tags that are neither YAML's own nor docker compose's. */
  readonly unknownTags: readonly string[];
}

const MAX_DEPTH = 200;

/** @throws ComposeError `yaml-invalid`, `interpolation-invalid`, with the line in `facts` */
export function readYaml(text: string, variables: Variables): YamlDocuments {
  const lines = new LineCounter();
  refuseControls(text);
  const documents = parse(text, lines);
  const reader: Reader = {
    lines,
    variables,
    known: new Map(),
    anchors: new Map(),
    missing: [],
    unknownTags: new Set(),
    heights: new WeakMap(),
    depth: 0,
  };
  return {
    documents: documents.map((document) => {
      reader.anchors.clear();
      return convert(document.contents, reader);
    }),
    missing: reader.missing,
    unknownTags: [...reader.unknownTags],
  };
}

interface Reader {
  readonly lines: LineCounter;
  readonly variables: Variables;
  /** Also of what aliases name, so that sharing stays sharing. */
  readonly known: Map<Node, ComposeNode | "being read">;
  /** The document's anchors so far: an alias means the last one before it. */
  readonly anchors: Map<string, Node>;
  readonly missing: MissingVariable[];
  readonly unknownTags: Set<string>;
  /** How deep what is in a value nests. */
  readonly heights: WeakMap<ComposeNode, number>;
  depth: number;
}

function parse(text: string, lines: LineCounter): readonly Document.Parsed[] {
  const documents = parseWords(text, lines);
  for (const document of documents) {
    // Docker compose knows YAML 1.1 and no directive but its two.
    const { yaml } = document.directives;
    if (yaml.explicit === true && yaml.version !== "1.1")
      throw new ComposeError("yaml-invalid", `invalid YAML: docker compose reads %YAML 1.1, not ${yaml.version}`);
    const error = document.errors[0] ?? document.warnings.find(({ code }) => code === "BAD_DIRECTIVE");
    if (error === undefined) continue;
    const { line, col } = lines.linePos(error.pos[0]);
    throw new ComposeError("yaml-invalid", `line ${line}: invalid YAML at column ${col}: ${error.message}`, {
      cause: error,
      facts: { line },
    });
  }
  return documents;
}

/** Characters that YAML has no place for, in comments too. @throws ComposeError `yaml-invalid` */
function refuseControls(text: string): void {
  // oxlint-disable-next-line no-control-regex
  const at = text.search(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]/);
  if (at < 0) return;
  const line = text.slice(0, at).split("\n").length;
  throw new ComposeError("yaml-invalid", `line ${line}: invalid YAML: a control character stands in it`, {
    facts: { line },
  });
}

function parseWords(text: string, lineCounter: LineCounter): readonly Document.Parsed[] {
  try {
    // Words stay as they are written: what they mean to Docker is said in scalar.ts.
    const parsed = parseAllDocuments(text, {
      lineCounter,
      prettyErrors: false,
      schema: "failsafe",
      logLevel: "error",
      // Its own check takes time by the square; `mapping` below looks for repeated keys.
      uniqueKeys: false,
    });
    return "empty" in parsed ? [] : parsed;
  } catch (cause) {
    // The library recurses into what nests.
    if (cause instanceof RangeError)
      throw new ComposeError("yaml-invalid", "invalid YAML: values nest too deep", { cause });
    throw new ComposeError("yaml-invalid", `invalid YAML: ${(cause as Error).message}`, { cause });
  }
}

function convert(node: Node | null, reader: Reader): ComposeNode {
  if (node === null) return nothing;
  if (isAlias(node)) return convert(named(node, reader), reader);
  if (node.anchor !== undefined) reader.anchors.set(node.anchor, node);
  const before = reader.known.get(node);
  if (before === "being read") throw bad(reader, node, "an anchor contains itself");
  if (before !== undefined) return before;
  if (reader.depth >= MAX_DEPTH) throw bad(reader, node, `values nest deeper than ${MAX_DEPTH}`);
  reader.known.set(node, "being read");
  reader.depth += 1;
  const value = convertNew(node, reader);
  reader.depth -= 1;
  let height = 0;
  for (const child of childrenOf(value)) height = Math.max(height, reader.heights.get(child) ?? 0);
  // An alias is no nesting where it is written, and one where it is read.
  if (height >= MAX_DEPTH) throw bad(reader, node, `values nest deeper than ${MAX_DEPTH}`);
  reader.heights.set(value, height + 1);
  reader.known.set(node, value);
  return value;
}

function convertNew(node: Node, reader: Reader): ComposeNode {
  const place = placeOf(node, reader);
  const tag = tagOf(node, reader);
  if (isScalar(node)) return { ...scalar(node, place, reader), ...(tag === undefined ? {} : { tag }) };
  if (isSeq(node)) {
    const items = node.items.map((item) => convert(item as Node | null, reader));
    return { kind: "list", items, place, ...(tag === undefined ? {} : { tag }) };
  }
  if (isMap(node)) {
    const entries = mapping(node, reader);
    return { kind: "map", entries, place, ...(tag === undefined ? {} : { tag }) };
  }
  throw bad(reader, node, "this is neither a value, a list nor a mapping");
}

/** A mapping's own members win over merged ones, wherever `<<` stands; an earlier merged mapping wins over a later. */
function mapping(node: YAMLMap, reader: Reader): ReadonlyMap<string, ComposeNode> {
  const own = new Map<string, ComposeNode>();
  const keys = new Set<string>();
  const merged: MapNode[] = [];
  for (const { key, value } of node.items) {
    const keyNode = isAlias(key) ? named(key, reader) : key;
    if (!isScalar(keyNode) || typeof keyNode.value !== "string")
      throw bad(reader, node, "a key of a mapping is no text");
    if (keyNode.anchor !== undefined) reader.anchors.set(keyNode.anchor, keyNode);
    if (keys.has(keyNode.value)) throw bad(reader, keyNode, `the key ${keyNode.value} stands twice in one mapping`);
    keys.add(keyNode.value);
    if (keyNode.value === "<<" && keyNode.type === Scalar.PLAIN) {
      const from = convert(value as Node | null, reader);
      const sources = from.kind === "list" ? from.items : [from];
      for (const source of sources) {
        if (source.kind !== "map") throw bad(reader, keyNode, "`<<` needs a mapping or a list of mappings");
        merged.push(source);
      }
      continue;
    }
    if (keyNode.type === Scalar.PLAIN && keyNode.tag === undefined && typeof plainScalar(keyNode.value) !== "string")
      throw bad(reader, keyNode, `the key ${keyNode.value} is no text; put it into quotes`);
    own.set(keyNode.value, value === null ? nothingAt(placeOf(keyNode, reader)) : convert(value as Node, reader));
  }
  if (merged.length === 0) return own;
  const all = new Map(own);
  for (const { entries } of merged) for (const [key, value] of entries) if (!all.has(key)) all.set(key, value);
  return all;
}

function scalar(node: Scalar, place: Place, reader: Reader): ScalarNode {
  const raw = String(node.value ?? "");
  const style = STYLES[node.type ?? "PLAIN"] ?? "plain";
  const isWord = node.tag === undefined ? style === "plain" : WORD_TAGS.has(node.tag);
  const typed = isWord ? plainScalar(raw) : raw;
  if (typeof typed !== "string") return { kind: "scalar", value: typed, raw, parts: [], variables: [], style, place };
  const filled = fill(raw, place, reader);
  if (filled.missing !== undefined) reader.missing.push({ ...filled.missing, place });
  const date = isWord && isTimestamp(raw) ? { isDate: true } : {};
  return {
    ...date,
    kind: "scalar",
    value: filled.text,
    raw,
    parts: filled.parts,
    variables: filled.variables,
    style,
    place,
  };
}

function fill(raw: string, { line }: Place, { variables }: Reader): Interpolated {
  try {
    return interpolate(raw, variables);
  } catch (cause) {
    if (!(cause instanceof ComposeError)) throw cause;
    throw new ComposeError(cause.code, `line ${line}: ${cause.message}`, { cause, facts: { line } });
  }
}

function named(alias: Alias, reader: Reader): Node {
  const target = reader.anchors.get(alias.source);
  if (target === undefined) throw bad(reader, alias, `the alias *${alias.source} names no anchor before it`);
  return target;
}

const STYLES: Readonly<Record<string, ScalarStyle>> = {
  PLAIN: "plain",
  QUOTE_SINGLE: "single-quoted",
  QUOTE_DOUBLE: "double-quoted",
  BLOCK_FOLDED: "folded",
  BLOCK_LITERAL: "literal",
};
const WORD_TAGS: ReadonlySet<string> = new Set(
  ["int", "float", "bool", "null"].map((name) => `tag:yaml.org,2002:${name}`),
);
const NOWHERE: Place = { start: 0, end: 0, line: 1 };
const nothingAt = (place: Place): ScalarNode => ({
  kind: "scalar",
  value: null,
  raw: "",
  parts: [],
  variables: [],
  style: "plain",
  place,
});
const nothing = nothingAt(NOWHERE);

function tagOf(node: Node, reader: Reader): Tag | undefined {
  const { tag } = node as { tag?: string };
  if (tag === undefined || tag === "!" || tag.startsWith("tag:yaml.org,2002:")) return undefined;
  if (tag === "!reset") return "reset";
  if (tag === "!override") return "override";
  reader.unknownTags.add(tag);
  return undefined;
}

function placeOf(node: Node, { lines }: Reader): Place {
  const [start, end] = node.range ?? [0, 0];
  return { start, end, line: Math.max(1, lines.linePos(start).line) };
}

function bad(reader: Reader, node: Node, message: string): ComposeError {
  const { line } = placeOf(node, reader);
  return new ComposeError("yaml-invalid", `line ${line}: invalid YAML: ${message}`, { facts: { line } });
}
