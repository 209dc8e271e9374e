/**
 * A compose file as a tree of values that know where they are written. What an alias names is
 * the very same object wherever it is used, so the tree of a small file is small however often
 * its anchors are used; whoever walks all of it counts its steps (see `expandedSize`).
 */
export type ComposeNode = ScalarNode | ListNode | MapNode;

/** Where a value is written: offsets in the file's text (`text.slice(start, end)`), and the line. */
export interface Place {
  readonly start: number;
  readonly end: number;
  /** 1-based. */
  readonly line: number;
}

export type ScalarStyle = "plain" | "single-quoted" | "double-quoted" | "folded" | "literal";

/** What an interpolated text is made of, in order. */
export interface TextPart {
  readonly text: string;
  /** Written in the file: as it is, or as the default of a variable; else the value of a variable. */
  readonly from: "literal" | "default" | "variable";
  /** Offsets in the scalar's own text, before interpolation. */
  readonly start: number;
  readonly end: number;
  /** The variables that decide this part, the outermost first. */
  readonly variables: readonly string[];
}

export interface ScalarNode {
  readonly kind: "scalar";
  /** After interpolation; undefined where a variable decides whose value is not known here. */
  readonly value: string | number | boolean | null | undefined;
  /** A text as the file writes it, before interpolation. */
  readonly raw: string;
  readonly parts: readonly TextPart[];
  /** Variables that have a say in the value, each once. */
  readonly variables: readonly string[];
  readonly style: ScalarStyle;
  readonly place: Place;
  readonly tag?: Tag;
  /** A plain date: docker compose takes it for no text. */
  readonly isDate?: boolean;
}

export interface ListNode {
  readonly kind: "list";
  readonly items: readonly ComposeNode[];
  readonly place: Place;
  readonly tag?: Tag;
}

export interface MapNode {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, ComposeNode>;
  readonly place: Place;
  readonly tag?: Tag;
}

/** `!reset` and `!override`, which say how a document is laid over an earlier one. */
export type Tag = "reset" | "override";

/** A member of a mapping; undefined for what is no mapping. */
export const memberOf = (node: ComposeNode | undefined, key: string): ComposeNode | undefined =>
  node?.kind === "map" ? node.entries.get(key) : undefined;

/** Members of a mapping in order; none for what is no mapping. */
export const membersOf = (node: ComposeNode | undefined): readonly (readonly [string, ComposeNode])[] =>
  node?.kind === "map" ? [...node.entries] : [];

export const itemsOf = (node: ComposeNode | undefined): readonly ComposeNode[] =>
  node?.kind === "list" ? node.items : [];

/** What a list or a mapping holds. */
export const childrenOf = (node: ComposeNode): Iterable<ComposeNode> =>
  node.kind === "list" ? node.items : node.kind === "map" ? node.entries.values() : [];

/** The text of a scalar whose value is known; numbers and booleans as YAML would write them. */
export function textOf(node: ComposeNode | undefined): string | undefined {
  if (node?.kind !== "scalar" || node.value === undefined || node.value === null) return undefined;
  return String(node.value);
}

/**
 * A variable that decides a value from outside the file: one that is not known, or one that may be
 * sent, whatever default the file gives it.
 */
export function outsideVariable(node: ComposeNode | undefined, maySend: ReadonlySet<string>): string | undefined {
  if (node?.kind !== "scalar") return undefined;
  const sent = node.variables.find((name) => maySend.has(name));
  return sent ?? (node.value === undefined ? node.variables[0] : undefined);
}

/** Whether the value depends on a variable that is not known. */
export const isUnknown = (node: ComposeNode | undefined): boolean =>
  node?.kind === "scalar" && node.value === undefined;

/** True for `true`, and for the texts that docker compose takes for it. */
export function isTrue(node: ComposeNode | undefined): boolean {
  return /^(?:y|yes|true|on|1|t)$/i.test(textOf(node) ?? "");
}

/**
 * How many values the tree has where every alias counts in full. Shared values are counted once
 * and added up, so that the work is that of the written file.
 */
export function expandedSize(node: ComposeNode, known = new Map<ComposeNode, number>()): number {
  const before = known.get(node);
  if (before !== undefined) return before;
  let size = 1;
  for (const child of childrenOf(node)) size += expandedSize(child, known);
  known.set(node, size);
  return size;
}
