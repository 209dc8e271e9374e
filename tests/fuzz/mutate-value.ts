import type { Random } from "./random.ts";

/** What JSON, msgpack and CBOR documents are made of. */
export type Value =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Value[]
  | { readonly [key: string]: Value };

const NUMBERS = [0, 1, 2, 3, 4, -1, 0.5, 255, 256, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER, 2 ** 53, 1e308];
const TEXTS = [
  "",
  "0",
  "__proto__",
  "constructor",
  "toString",
  "system-ready",
  "boot-mr-done",
  "app-id",
  "compose-hash",
  "\0",
  "\u00fc\u{1f600}",
  "0x",
  "zz",
  "1.0.0",
];

/** The document with one to three members changed, removed, repeated, renamed or replaced by another kind. */
export function mutateValue(random: Random, value: Value): Value {
  let out = value;
  for (let edits = 1 + random.below(3); edits > 0; edits--) out = edit(random, out, random.below(8));
  return out;
}

function edit(random: Random, value: Value, depth: number): Value {
  if (depth > 0 && Array.isArray(value) && value.length > 0) {
    const list: Value[] = [...(value as readonly Value[])];
    const at = random.below(list.length);
    if (random.oneIn(5)) return editList(random, list, at);
    list[at] = edit(random, list[at]!, depth - 1);
    return list;
  }
  if (depth > 0 && isRecord(value)) {
    const members = Object.entries(value);
    if (members.length === 0) return { [random.pick(TEXTS)]: 1 };
    const at = random.below(members.length);
    const [key, member] = members[at]!;
    if (random.oneIn(5)) return editMembers(random, members, at);
    members[at] = [key, edit(random, member, depth - 1)];
    return Object.fromEntries(members);
  }
  return replace(random, value);
}

function editList(random: Random, list: Value[], at: number): Value {
  const other = random.below(list.length);
  switch (random.below(4)) {
    case 0:
      return list.toSpliced(at, 1);
    case 1:
      return list.toSpliced(at, 0, list[other]!);
    case 2:
      return list.with(at, list[other]!).with(other, list[at]!);
    default:
      return list.slice(0, at);
  }
}

function editMembers(random: Random, members: [string, Value][], at: number): Value {
  const [key, member] = members[at]!;
  switch (random.below(4)) {
    case 0:
      return Object.fromEntries(members.toSpliced(at, 1));
    case 1:
      return Object.fromEntries(members.with(at, [random.pick(TEXTS), member]));
    case 2:
      return Object.fromEntries([...members, [random.pick(TEXTS), replace(random, member)]]);
    default:
      return Object.fromEntries(members.with(at, [key, members[random.below(members.length)]![1]]));
  }
}

function replace(random: Random, value: Value): Value {
  if (random.oneIn(6)) return random.pick<Value>([null, true, false, [], {}, "", 0, new Uint8Array(0)]);
  switch (typeof value) {
    case "number":
      return random.oneIn(3) ? value + random.pick([1, -1]) : random.pick(NUMBERS);
    case "boolean":
      return !value;
    case "string":
      return replaceText(random, value);
    default:
      return value instanceof Uint8Array ? replaceBytes(random, value) : random.pick<Value>([...NUMBERS, ...TEXTS]);
  }
}

function replaceText(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  switch (random.below(6)) {
    case 0:
      return random.pick(TEXTS);
    case 1:
      return text.slice(0, at);
    case 2:
      return text.slice(0, at) + text.slice(at + 1);
    case 3:
      return text.slice(0, at) + random.pick(["0", "f", "g", " ", "/", "\n", "Z", "=", "\ud800"]) + text.slice(at + 1);
    case 4:
      return text + text.slice(at, at + 64);
    default:
      return text.toUpperCase();
  }
}

function replaceBytes(random: Random, bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0 || random.oneIn(3))
    return new Uint8Array(random.pick([0, 1, 19, 20, 31, 32, 47, 48, 49, 63, 64, 65])).fill(random.u32());
  const out = Uint8Array.from(bytes);
  out[random.below(out.length)]! ^= 1 << random.below(8);
  return random.oneIn(3) ? out.subarray(0, random.below(out.length + 1)) : out;
}

const isRecord = (value: Value): value is { readonly [key: string]: Value } =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
