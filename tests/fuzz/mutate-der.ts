import { concatBytes } from "@dstack/bytes";
import { derElement } from "@dstack/der";
import { mutateBytes } from "./mutate-bytes.ts";
import type { Random } from "./random.ts";

/** DER as a tree, and such that a tree without an edit comes back byte for byte. */
interface Node {
  readonly tag: number;
  readonly content: Uint8Array | readonly Node[];
}

const MAX_DEPTH = 12;
const TAGS = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x30, 0x31, 0xa0, 0xa3, 0x80];

/**
 * A certificate (or any DER) with one or two elements changed and every enclosing length put right,
 * so that the change is reached by readers. OCTET STRINGs are opened where they hold DER.
 */
export function mutateDer(random: Random, der: Uint8Array): Uint8Array {
  const nodes = parse(der, 0);
  if (nodes === undefined) return der;
  let out: readonly Node[] = nodes;
  for (let edits = 1 + random.below(2); edits > 0; edits--) out = editOne(random, out);
  return write(out);
}

function editOne(random: Random, nodes: readonly Node[]): readonly Node[] {
  if (nodes.length === 0) return [{ tag: random.pick(TAGS), content: new Uint8Array(random.below(4)) }];
  const at = random.below(nodes.length);
  const node = nodes[at]!;
  if (typeof node.content !== "object" || node.content instanceof Uint8Array || random.oneIn(8))
    return editNode(random, nodes, at);
  return nodes.with(at, { tag: node.tag, content: editOne(random, node.content) });
}

function editNode(random: Random, nodes: readonly Node[], at: number): readonly Node[] {
  const node = nodes[at]!;
  const content = node.content instanceof Uint8Array ? node.content : write(node.content);
  switch (random.below(7)) {
    case 0:
      return nodes.toSpliced(at, 1);
    case 1:
      return nodes.toSpliced(at, 0, random.pick(nodes));
    case 2:
      return nodes.with(at, { tag: random.pick(TAGS), content });
    case 3:
      return nodes.with(at, { tag: node.tag, content: nest(random, node) });
    case 4:
      return nodes.with(at, { tag: node.tag, content: content.subarray(0, random.below(content.length + 1)) });
    default:
      return nodes.with(at, { tag: node.tag, content: mutateBytes(random, content, content) });
  }
}

function nest(random: Random, node: Node): readonly Node[] {
  let inner: Node = node;
  for (let depth = random.below(40); depth > 0; depth--) inner = { tag: node.tag | 0x20, content: [inner] };
  return [inner];
}

const write = (nodes: readonly Node[]): Uint8Array =>
  concatBytes(
    ...nodes.map(({ tag, content }) => derElement(tag, content instanceof Uint8Array ? content : write(content))),
  );

/** Undefined where the bytes are not a sequence of elements in definite short or long form. */
function parse(bytes: Uint8Array, depth: number): readonly Node[] | undefined {
  const nodes: Node[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const tag = bytes[offset]!;
    const first = bytes[offset + 1] ?? 0x80;
    const extra = first > 0x80 ? first - 0x80 : 0;
    if ((tag & 0x1f) === 0x1f || first === 0x80 || extra > 3 || offset + 2 + extra > bytes.length) return undefined;
    let length = extra === 0 ? first : 0;
    for (let i = 0; i < extra; i++) length = length * 256 + bytes[offset + 2 + i]!;
    const start = offset + 2 + extra;
    if (start + length > bytes.length) return undefined;
    const content = bytes.subarray(start, start + length);
    const opens = ((tag & 0x20) !== 0 || tag === 0x04) && depth < MAX_DEPTH && content.length > 0;
    nodes.push({ tag, content: (opens ? parse(content, depth + 1) : undefined) ?? content });
    offset = start + length;
  }
  return nodes;
}
