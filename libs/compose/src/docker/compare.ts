/** Two compose files side by side. */
import type { ComposeNode, MapNode } from "./node.ts";

export type Path = readonly string[];

/**
 * Paths of what differs between two files, extensions (`x-...`) at the top left out: they act only
 * where an alias uses them. Work is bounded by the pairs of written values, however often aliases
 * repeat them; of values that are shared, the first path is told.
 */
export function differingScalars(before: MapNode, after: MapNode): readonly Path[] {
  const found: Path[] = [];
  const same = new Map<ComposeNode, Set<ComposeNode>>();
  const compare = (a: ComposeNode, b: ComposeNode, path: Path): boolean => {
    if (same.get(a)?.has(b) === true) return true;
    const isSame = compareNew(a, b, path);
    if (isSame) same.set(a, (same.get(a) ?? new Set()).add(b));
    return isSame;
  };
  const compareNew = (a: ComposeNode, b: ComposeNode, path: Path): boolean => {
    if (a.kind === "scalar" && b.kind === "scalar") {
      const isSame = Object.is(a.value, b.value) && (a.value !== undefined || a.raw === b.raw);
      if (!isSame) found.push(path);
      return isSame;
    }
    if (a.kind === "list" && b.kind === "list" && a.items.length === b.items.length)
      return a.items.map((item, i) => compare(item, b.items[i] ?? item, [...path, `[${i}]`])).every(Boolean);
    if (a.kind === "map" && b.kind === "map" && sameKeys(a, b))
      return [...a.entries]
        .filter(([key]) => path.length > 0 || !key.startsWith("x-"))
        .map(([key, value]) => compare(value, b.entries.get(key) ?? value, [...path, key]))
        .every(Boolean);
    found.push(path);
    return false;
  };
  compare(before, after, []);
  return found;
}

function sameKeys(a: MapNode, b: MapNode): boolean {
  return a.entries.size === b.entries.size && [...a.entries.keys()].every((key) => b.entries.has(key));
}
