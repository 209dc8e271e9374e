import { utf8Decode } from "@dstack/bytes";
import type { ParsedAppCompose } from "@dstack/compose";
import { diffLines, diffText } from "./text-diff.ts";

/** How the bytes of two manifests differ. */
export interface ManifestDiff {
  /** The offset of the first byte that differs; undefined where all are the same. */
  readonly firstByte: number | undefined;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** For people: member by member, texts of several lines line by line. */
  readonly lines: readonly string[];
}

/** The difference between the manifest that runs and the one that would. Pure. */
export function diffManifests(before: ParsedAppCompose, after: ParsedAppCompose): ManifestDiff {
  const firstByte = firstDifference(before.bytes, after.bytes);
  const sizes = { bytesBefore: before.bytes.length, bytesAfter: after.bytes.length };
  if (firstByte === undefined) return { firstByte, ...sizes, lines: [] };
  const [old, now] = [membersOf(before), membersOf(after)];
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])];
  const lines = names.flatMap((name) => diffMember(name, old[name], now[name]));
  return { firstByte, ...sizes, lines: lines.length > 0 ? lines : ["the same members, written otherwise"] };
}

function diffMember(name: string, before: unknown, after: unknown): readonly string[] {
  const [old, now] = [JSON.stringify(before), JSON.stringify(after)];
  if (old === now) return [];
  if (typeof before === "string" && typeof after === "string" && `${before}${after}`.includes("\n"))
    return [`  ${name}:`, ...diffText(diffLines(before, after)).map((line) => `    ${line}`)];
  return [...(old === undefined ? [] : [`- ${name}: ${old}`]), ...(now === undefined ? [] : [`+ ${name}: ${now}`])];
}

const membersOf = ({ bytes }: ParsedAppCompose): Readonly<Record<string, unknown>> =>
  JSON.parse(utf8Decode(bytes, "manifest")) as Readonly<Record<string, unknown>>;

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  const length = Math.min(a.length, b.length);
  for (let offset = 0; offset < length; offset++) if (a[offset] !== b[offset]) return offset;
  return a.length === b.length ? undefined : length;
}
