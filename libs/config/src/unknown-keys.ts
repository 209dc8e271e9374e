import type { z } from "zod";
import { shapeOf } from "./schema-keys.ts";
import { isTable, type Table } from "./table.ts";

/** A key that nothing reads, and the one that was probably meant (DS #830). */
export interface UnknownKey {
  readonly key: string;
  readonly suggestion: string | undefined;
}

/** The keys of `table` that the schema has no place for; what lies below a record is anybody's. */
export function unknownKeys(schema: z.ZodType, table: Table, path = ""): UnknownKey[] {
  const shape = shapeOf(schema);
  if (shape === undefined) return [];
  return Object.entries(table).flatMap(([name, value]) => {
    const key = path === "" ? name : `${path}.${name}`;
    const child = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (child === undefined) return [{ key, suggestion: nearest(name, Object.keys(shape)) }];
    return isTable(value) ? unknownKeys(child, value, key) : [];
  });
}

function nearest(key: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(key.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(key, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Letters to change, put in or take out. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
