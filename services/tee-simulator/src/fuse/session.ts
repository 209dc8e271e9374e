/** Answers FUSE requests from a tree of attribute files. No I/O: bytes in, bytes out. */
import { concatBytes } from "@dstack/bytes";
import {
  attributeReply,
  directoryEntry,
  entryReply,
  ERRNO,
  FuseErrno,
  initReply,
  OPCODE,
  openReply,
  parseRequest,
  reply,
  requestName,
  statfsReply,
  writeReply,
} from "./protocol.ts";
import type { Attributes, FuseRequest } from "./protocol.ts";
import { indexTree } from "./tree.ts";
import type { IndexedNode, SimulatedFile, SimulatedFolder } from "./tree.ts";

interface OpenFile {
  readonly file: SimulatedFile;
  content?: Uint8Array;
  written?: Uint8Array;
}

const MAX_OPEN_FILES = 1024;
const ACCESS_MODE = 3;
const WRITE_ONLY = 1;

export class FuseSession {
  readonly #index: ReadonlyMap<bigint, IndexedNode>;
  readonly #open = new Map<bigint, OpenFile>();
  #nextHandle = 1n;

  constructor(root: SimulatedFolder) {
    this.#index = indexTree(root);
  }

  /** The reply to one request, or undefined for requests that have none. */
  answer(bytes: Buffer): Buffer | undefined {
    const request = parseRequest(bytes);
    if (
      request.opcode === OPCODE.forget ||
      request.opcode === OPCODE.batchForget ||
      request.opcode === OPCODE.interrupt
    )
      return undefined;
    try {
      return reply(request.unique, 0, this.#handle(request));
    } catch (error) {
      return reply(request.unique, error instanceof FuseErrno ? error.errno : ERRNO.EIO);
    }
  }

  #handle(request: FuseRequest): Uint8Array {
    const { body } = request;
    switch (request.opcode) {
      case OPCODE.init:
        return initReply(request);
      case OPCODE.lookup:
        return entryReply(this.#attributes(this.#child(request.node, requestName(body))));
      case OPCODE.getattr:
      case OPCODE.setattr: // truncation on open means nothing to an attribute
        return attributeReply(this.#attributes(request.node));
      case OPCODE.mkdir:
        throw new FuseErrno(this.#node(request.node).children.has(requestName(body, 8)) ? "EEXIST" : "EPERM");
      case OPCODE.open:
        return openReply(this.#openFile(request.node, body.readUInt32LE(0)));
      case OPCODE.read:
        return this.#read(body.readBigUInt64LE(0), Number(body.readBigUInt64LE(8)), body.readUInt32LE(16));
      case OPCODE.write:
        return this.#write(
          body.readBigUInt64LE(0),
          Number(body.readBigUInt64LE(8)),
          body.subarray(40, 40 + body.readUInt32LE(16)),
        );
      case OPCODE.flush:
        return this.#flush(body.readBigUInt64LE(0));
      case OPCODE.release:
        this.#open.delete(body.readBigUInt64LE(0));
        return NOTHING;
      case OPCODE.readdir:
        return this.#readFolder(request.node, Number(body.readBigUInt64LE(8)), body.readUInt32LE(16));
      case OPCODE.statfs:
        return statfsReply();
      case OPCODE.opendir:
        return openReply(0n);
      case OPCODE.releasedir:
      case OPCODE.access:
      case OPCODE.destroy:
        return NOTHING;
      default:
        throw new FuseErrno("ENOSYS");
    }
  }

  #openFile(number: bigint, flags: number): bigint {
    const { node } = this.#node(number);
    if (node.kind !== "file") throw new FuseErrno("EINVAL");
    const access = flags & ACCESS_MODE;
    const readable = node.read !== undefined;
    const writable = node.write !== undefined || node.commit !== undefined;
    if ((access !== WRITE_ONLY && !readable) || (access !== 0 && !writable)) throw new FuseErrno("EACCES");
    if (this.#open.size >= MAX_OPEN_FILES) throw new FuseErrno("EBUSY");
    const handle = this.#nextHandle++;
    this.#open.set(handle, { file: node });
    return handle;
  }

  #read(handle: bigint, offset: number, size: number): Uint8Array {
    const open = this.#handleOf(handle);
    if (open.file.read === undefined) throw new FuseErrno("EACCES");
    open.content ??= open.file.read();
    return open.content.subarray(offset, offset + size);
  }

  #write(handle: bigint, offset: number, bytes: Uint8Array): Uint8Array {
    const open = this.#handleOf(handle);
    const { write, commit } = open.file;
    if (write !== undefined) write(offset, bytes);
    else if (commit !== undefined) {
      const before = open.written ?? NOTHING;
      if (offset + bytes.length > commit.maxBytes) throw new FuseErrno("EFBIG");
      if (offset !== before.length) throw new FuseErrno("EINVAL");
      open.written = concatBytes(before, bytes);
    } else throw new FuseErrno("EACCES");
    return writeReply(bytes.length);
  }

  #flush(handle: bigint): Uint8Array {
    const open = this.#handleOf(handle);
    const { written } = open;
    if (written !== undefined && open.file.commit !== undefined) {
      delete open.written;
      open.file.commit.apply(written);
    }
    return NOTHING;
  }

  #readFolder(number: bigint, offset: number, size: number): Uint8Array {
    const { children } = this.#node(number);
    const entries: (readonly [string, bigint])[] = [[".", number], ["..", number], ...children];
    let out = NOTHING;
    for (let next = offset; next < entries.length; next++) {
      const [name, child] = entries[next] ?? [".", number];
      const entry = directoryEntry(name, BigInt(next + 1), this.#attributes(child));
      if (out.length + entry.length > size) break;
      out = concatBytes(out, entry);
    }
    return out;
  }

  #attributes(number: bigint): Attributes {
    const { node } = this.#node(number);
    return { node: number, directory: node.kind === "folder", mode: node.kind === "folder" ? 0o755 : node.mode };
  }

  #child(parent: bigint, name: string): bigint {
    const { node, children } = this.#node(parent);
    if (node.kind !== "folder") throw new FuseErrno("ENOTDIR");
    const child = children.get(name);
    if (child === undefined) throw new FuseErrno("ENOENT");
    return child;
  }

  #node(number: bigint): IndexedNode {
    const node = this.#index.get(number);
    if (node === undefined) throw new FuseErrno("ENOENT");
    return node;
  }

  #handleOf(handle: bigint): OpenFile {
    const open = this.#open.get(handle);
    if (open === undefined) throw new FuseErrno("EBADF");
    return open;
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);
