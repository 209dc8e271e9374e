/**
 * Strict DER reader (X.690 section 10).
 *
 * Grammar of one element: identifier octet, length, content. Only single-octet identifiers
 * (tag numbers 0 to 30), only definite lengths in their shortest form, nothing after the
 * element. Content is opened level by level by the caller, so nesting costs what the caller
 * asks for and hostile nesting costs nothing.
 */
import { DerError } from "./errors.ts";
import { TAG } from "./tags.ts";

/** One element. `raw` is identifier, length and content; `content` and `raw` are views, not copies. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly raw: Uint8Array;
}

/** No document read here comes near this; a length above it is refused before anything is read. */
const MAX_CONTENT_BYTES = 16 * 1024 * 1024;
const MAX_CHILDREN = 65_536;

/**
 * The one element that `bytes` consists of.
 * @throws DerError where the encoding is not DER or bytes follow
 */
export function readDer(bytes: Uint8Array, what = "DER"): DerElement {
  const element = elementAt(bytes, 0, what);
  if (element.raw.length !== bytes.length) {
    throw new DerError("trailing-bytes", `${what}: ${bytes.length - element.raw.length} bytes after the element`);
  }
  return element;
}

/**
 * The elements inside a constructed element, or inside any bytes that are a run of elements.
 * @throws DerError
 */
export function readChildren(element: DerElement, what = "DER"): DerElement[] {
  if ((element.tag & 0x20) === 0) {
    throw new DerError("tag-unexpected", `${what}: tag ${hex(element.tag)} is not a constructed type`);
  }
  const children: DerElement[] = [];
  let offset = 0;
  while (offset < element.content.length) {
    if (children.length === MAX_CHILDREN) throw new DerError("too-large", `${what}: over ${MAX_CHILDREN} elements`);
    const child = elementAt(element.content, offset, what);
    children.push(child);
    offset += child.raw.length;
  }
  return children;
}

/** A cursor over the children of one constructed element: fields in order, none left over. */
export class DerFields {
  readonly #children: readonly DerElement[];
  readonly #what: string;
  #next = 0;

  /** @throws DerError `tag-unexpected` unless `element` has `tag` (default SEQUENCE) */
  constructor(element: DerElement, what: string, tag: number = TAG.sequence) {
    expectTag(element, tag, what);
    this.#children = readChildren(element, what);
    this.#what = what;
  }

  /** The next field, which must have this tag; any tag where none is given. */
  take(name: string, tag?: number): DerElement {
    const child = this.#children[this.#next];
    if (child === undefined) throw new DerError("truncated", `${this.#what}: ${name} is missing`);
    if (tag !== undefined) expectTag(child, tag, `${this.#what}: ${name}`);
    this.#next++;
    return child;
  }

  /** The next field where it has this tag, else undefined and nothing is consumed. */
  takeIf(tag: number): DerElement | undefined {
    const child = this.#children[this.#next];
    if (child === undefined || child.tag !== tag) return undefined;
    this.#next++;
    return child;
  }

  get hasMore(): boolean {
    return this.#next < this.#children.length;
  }

  /** @throws DerError `trailing-bytes` where fields are left */
  end(): void {
    if (this.hasMore) {
      throw new DerError("trailing-bytes", `${this.#what}: ${this.#children.length - this.#next} fields too many`);
    }
  }
}

/** @throws DerError `tag-unexpected` */
export function expectTag(element: DerElement, tag: number, what: string): void {
  if (element.tag !== tag) {
    throw new DerError("tag-unexpected", `${what}: expected tag ${hex(tag)}, got ${hex(element.tag)}`);
  }
}

function elementAt(bytes: Uint8Array, start: number, what: string): DerElement {
  const tag = bytes[start];
  const first = bytes[start + 1];
  if (tag === undefined || first === undefined) throw new DerError("truncated", `${what}: ends inside a header`);
  if ((tag & 0x1f) === 0x1f) throw new DerError("tag-unsupported", `${what}: multi-octet tag`);
  let length = first;
  let offset = start + 2;
  if (first === 0x80) throw new DerError("length-not-definite", `${what}: indefinite length is not DER`);
  if (first > 0x80) {
    const count = first & 0x7f;
    if (count > 4) throw new DerError("too-large", `${what}: length of ${count} octets`);
    length = 0;
    for (let i = 0; i < count; i++) {
      const octet = bytes[offset++];
      if (octet === undefined) throw new DerError("truncated", `${what}: ends inside a length`);
      length = length * 256 + octet;
    }
    if (length < 0x80 || length < 256 ** (count - 1)) {
      throw new DerError("length-not-minimal", `${what}: length ${length} written in ${count} octets`);
    }
  }
  if (length > MAX_CONTENT_BYTES)
    throw new DerError("too-large", `${what}: ${length} bytes, limit ${MAX_CONTENT_BYTES}`);
  const end = offset + length;
  if (end > bytes.length) {
    throw new DerError("truncated", `${what}: content of ${length} bytes, ${bytes.length - offset} there`);
  }
  return { tag, content: bytes.subarray(offset, end), raw: bytes.subarray(start, end) };
}

const hex = (tag: number): string => `0x${tag.toString(16).padStart(2, "0")}`;
