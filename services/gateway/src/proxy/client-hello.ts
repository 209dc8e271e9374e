/**
 * The server name of a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3), read from the first bytes of
 * a connection. Records are content type 22, version 3.x, a length of 1 to 2^14; the handshake
 * message may be spread over several of them.
 */
export type HelloName =
  | { readonly kind: "incomplete" }
  /** Lower-case ASCII. */
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "absent" }
  | { readonly kind: "invalid"; readonly reason: string };

const MAX_RECORD_BYTES = 16_384;
/** Of the handshake message; record headers come on top. */
export const MAX_HELLO_BYTES = 16_384;
const MAX_RECORDS = 64;
/** No connection needs more bytes than this before its name is known. */
export const MAX_PEEK_BYTES = MAX_HELLO_BYTES + 4 + 5 * MAX_RECORDS;

const NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

export function readServerName(bytes: Uint8Array): HelloName {
  const message = reassemble(bytes);
  if (!(message instanceof Uint8Array)) return message;
  try {
    return serverName(new Cursor(message));
  } catch (error) {
    if (error instanceof OutOfBounds) return invalid("a length in it runs past its end");
    throw error;
  }
}

/** The handshake message's body once all of it is there. */
function reassemble(bytes: Uint8Array): Uint8Array | HelloName {
  const parts: Uint8Array[] = [];
  let have = 0;
  let need: number | undefined;
  let offset = 0;
  for (let records = 0; records < MAX_RECORDS; records++) {
    if (offset < bytes.length && bytes[offset] !== 22) return invalid("it is no TLS handshake");
    if (offset + 1 < bytes.length && bytes[offset + 1] !== 3) return invalid("its record version is unknown");
    if (offset + 5 > bytes.length) return { kind: "incomplete" };
    const length = (bytes[offset + 3]! << 8) | bytes[offset + 4]!;
    if (length === 0 || length > MAX_RECORD_BYTES) return invalid(`a record of ${length} bytes`);
    const part = bytes.subarray(offset + 5, offset + 5 + length);
    parts.push(part);
    have += part.length;
    if (need === undefined) {
      const needed = neededBytes(parts, have);
      if (typeof needed === "object") return needed;
      need = needed;
    }
    if (need !== undefined && have >= need)
      return have === need ? join(parts, need).subarray(4) : invalid("bytes follow it in its record");
    if (part.length < length) return { kind: "incomplete" };
    offset += 5 + length;
  }
  return invalid(`it is spread over more than ${MAX_RECORDS} records`);
}

/** Length of the whole handshake message with its header, undefined while the header is not there. */
function neededBytes(parts: readonly Uint8Array[], have: number): number | HelloName | undefined {
  if (have < 4) return undefined;
  const head = join(parts, 4);
  if (head[0] !== 1) return invalid("its first message is no ClientHello");
  const length = (head[1]! << 16) | (head[2]! << 8) | head[3]!;
  return length > MAX_HELLO_BYTES ? invalid(`${length} bytes, at most ${MAX_HELLO_BYTES}`) : length + 4;
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = parts;
  if (only !== undefined && only.length >= length) return only.subarray(0, length);
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    if (offset >= length) break;
    const piece = part.subarray(0, length - offset);
    out.set(piece, offset);
    offset += piece.length;
  }
  return out;
}

function serverName(hello: Cursor): HelloName {
  hello.skip(2 + 32);
  hello.take(hello.u8());
  hello.take(hello.u16());
  hello.take(hello.u8());
  if (hello.atEnd) return { kind: "absent" };
  const extensions = hello.take(hello.u16());
  if (!hello.atEnd) return invalid("bytes follow its extensions");
  let found: HelloName | undefined;
  while (!extensions.atEnd) {
    const type = extensions.u16();
    const body = extensions.take(extensions.u16());
    if (type !== 0) continue;
    if (found !== undefined) return invalid("two server name extensions");
    found = hostName(body);
  }
  return found ?? { kind: "absent" };
}

function hostName(body: Cursor): HelloName {
  const list = body.take(body.u16());
  if (!body.atEnd) return invalid("bytes follow its server name");
  let name: string | undefined;
  while (!list.atEnd) {
    const type = list.u8();
    const value = list.take(list.u16());
    if (type !== 0) continue;
    if (name !== undefined) return invalid("two host names");
    name = value.ascii();
  }
  if (name === undefined) return { kind: "absent" };
  const lower = name.toLowerCase();
  return NAME.test(lower) ? { kind: "name", name: lower } : invalid("its server name is no host name");
}

const invalid = (reason: string): HelloName & { kind: "invalid" } => ({ kind: "invalid", reason });

class OutOfBounds extends Error {}

class Cursor {
  readonly #bytes: Uint8Array;
  #offset = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get atEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }
  skip(length: number): void {
    if (this.#offset + length > this.#bytes.length) throw new OutOfBounds();
    this.#offset += length;
  }
  u8(): number {
    this.skip(1);
    return this.#bytes[this.#offset - 1]!;
  }
  u16(): number {
    return (this.u8() << 8) | this.u8();
  }
  take(length: number): Cursor {
    const start = this.#offset;
    this.skip(length);
    return new Cursor(this.#bytes.subarray(start, this.#offset));
  }
  ascii(): string {
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length).toString("latin1");
  }
}
