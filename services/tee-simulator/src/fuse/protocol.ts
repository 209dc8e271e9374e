/**
 * The part of the FUSE wire protocol (include/uapi/linux/fuse.h, version 7.31) that a small tree of
 * attribute files needs. All integers little-endian, as on every machine that has TDX.
 */
import { concatBytes, u32le, u64le, utf8 } from "@dstack/bytes";

export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  mkdir: 9,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  access: 34,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
} as const;

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENOTDIR: 20,
  EINVAL: 22,
  EFBIG: 27,
  ENOSYS: 38,
} as const;

/** What a handler throws to answer with an error number. */
export class FuseErrno extends Error {
  readonly errno: number;
  constructor(name: keyof typeof ERRNO) {
    super(name);
    this.name = "FuseErrno";
    this.errno = ERRNO[name];
  }
}

export interface FuseRequest {
  readonly opcode: number;
  readonly unique: bigint;
  readonly node: bigint;
  readonly body: Buffer;
}

const HEADER = 40;
const MAJOR = 7;
const MINOR = 31;
export const MAX_WRITE = 4096;
/** Reads from the device take one whole request: header, write header and data, and room the kernel insists on. */
export const READ_BUFFER = Math.max(8192, MAX_WRITE + 4096);

/** A request as read from the device. Only the kernel writes there. */
export function parseRequest(bytes: Buffer): FuseRequest {
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: bytes.readBigUInt64LE(16),
    body: bytes.subarray(HEADER),
  };
}

/** A reply; `errno` 0 is success. */
export function reply(unique: bigint, errno: number, body: Uint8Array = new Uint8Array(0)): Buffer {
  const out = Buffer.alloc(16 + body.length);
  out.writeUInt32LE(out.length, 0);
  out.writeInt32LE(-errno, 4);
  out.writeBigUInt64LE(unique, 8);
  out.set(body, 16);
  return out;
}

/** fuse_init_out. */
export function initReply(request: FuseRequest): Uint8Array {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(MAJOR, 0);
  out.writeUInt32LE(MINOR, 4);
  out.writeUInt32LE(Math.min(request.body.readUInt32LE(8), MAX_WRITE), 8); // max_readahead
  out.writeUInt16LE(12, 16); // max_background
  out.writeUInt16LE(9, 18); // congestion_threshold
  out.writeUInt32LE(MAX_WRITE, 20);
  out.writeUInt32LE(1, 24); // time_gran
  return out;
}

export interface Attributes {
  readonly node: bigint;
  readonly directory: boolean;
  readonly mode: number;
}

/** fuse_attr: owned by root, size 0 as in sysfs (readers read to the end). */
function attributes({ node, directory, mode }: Attributes): Uint8Array {
  const out = Buffer.alloc(88);
  out.writeBigUInt64LE(node, 0);
  out.writeUInt32LE((directory ? 0o040000 : 0o100000) | mode, 60);
  out.writeUInt32LE(directory ? 2 : 1, 64); // nlink
  out.writeUInt32LE(4096, 80); // blksize
  return out;
}

const VALID_SECONDS = 60n;

/** fuse_entry_out. */
export function entryReply(entry: Attributes): Uint8Array {
  return concatBytes(
    u64le(entry.node),
    u64le(0n),
    u64le(VALID_SECONDS),
    u64le(VALID_SECONDS),
    u32le(0),
    u32le(0),
    attributes(entry),
  );
}

/** fuse_attr_out. */
export function attributeReply(entry: Attributes): Uint8Array {
  return concatBytes(u64le(VALID_SECONDS), u32le(0), u32le(0), attributes(entry));
}

const FOPEN_DIRECT_IO = 1;

/** fuse_open_out: direct I/O, so that the kernel keeps no copy of what is read. */
export function openReply(handle: bigint): Uint8Array {
  return concatBytes(u64le(handle), u32le(FOPEN_DIRECT_IO), u32le(0));
}

/** fuse_write_out. */
export const writeReply = (length: number): Uint8Array => concatBytes(u32le(length), u32le(0));

/** fuse_statfs_out of an empty file system. */
export function statfsReply(): Uint8Array {
  const out = Buffer.alloc(80);
  out.writeUInt32LE(4096, 40); // bsize
  out.writeUInt32LE(255, 44); // namelen
  out.writeUInt32LE(4096, 48); // frsize
  return out;
}

/** One fuse_dirent. `offset` is where the next read goes on. */
export function directoryEntry(name: string, offset: bigint, entry: Attributes): Uint8Array {
  const bytes = utf8(name);
  const type = entry.directory ? 4 : 8;
  return concatBytes(
    u64le(entry.node),
    u64le(offset),
    u32le(bytes.length),
    u32le(type),
    bytes,
    new Uint8Array((8 - (bytes.length % 8)) % 8),
  );
}

/** The name in a lookup or mkdir body: from `start` to the first NUL. */
export function requestName(body: Buffer, start = 0): string {
  const end = body.indexOf(0, start);
  return body.subarray(start, end < 0 ? undefined : end).toString("utf8");
}
