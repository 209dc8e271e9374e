/**
 * GUID partition table with the one partition `dstack-rootfs` (spec of the 0.6.0 image:
 * disk GUID d5acc000-0000-4000-8000-000000000000, partition GUID …0001, first partition at
 * 1 MiB, 1 MiB spare at the end). Layout: UEFI specification 2.10, chapter 5.3.
 */
import { crc32 } from "node:zlib";

const SECTOR = 512;
const MIB = 1024 * 1024;
const ENTRIES = 128;
const ENTRY = 128;
const TABLE_SECTORS = (ENTRIES * ENTRY) / SECTOR;
const DISK_GUID = "d5acc000-0000-4000-8000-000000000000";
const PARTITION_GUID = "d5acc000-0000-4000-8000-000000000001";
/** Linux filesystem data. */
const TYPE_GUID = "0fc63daf-8483-4772-8e79-3d69d8477de4";

export interface GptLayout {
  /** Protective MBR, header and entries: the first 34 sectors of the disk. */
  readonly head: Uint8Array;
  /** Entries and backup header: the last 33 sectors of the disk. */
  readonly tail: Uint8Array;
  readonly partitionOffsetBytes: number;
  readonly diskSizeBytes: number;
}

/** Layout for a partition of `partitionSizeBytes`, rounded up to whole MiB. */
export function layOutGpt(partitionSizeBytes: number): GptLayout {
  const size = Math.ceil(partitionSizeBytes / MIB) * MIB;
  const diskSizeBytes = MIB + size + MIB;
  const sectors = diskSizeBytes / SECTOR;
  const entries = Buffer.alloc(ENTRIES * ENTRY);
  entries.set(guidBytes(TYPE_GUID), 0);
  entries.set(guidBytes(PARTITION_GUID), 16);
  entries.writeBigUInt64LE(BigInt(MIB / SECTOR), 32);
  entries.writeBigUInt64LE(BigInt((MIB + size) / SECTOR - 1), 40);
  entries.write("dstack-rootfs", 56, "utf16le");
  const last = sectors - 1;
  return {
    head: Buffer.concat([protectiveMbr(sectors), header(entries, 1, last, 2, sectors), entries]),
    tail: Buffer.concat([entries, header(entries, last, 1, last - TABLE_SECTORS, sectors)]),
    partitionOffsetBytes: MIB,
    diskSizeBytes,
  };
}

function header(entries: Uint8Array, own: number, other: number, entriesAt: number, sectors: number): Uint8Array {
  const bytes = Buffer.alloc(SECTOR);
  bytes.write("EFI PART", 0, "latin1");
  bytes.writeUInt32LE(0x00010000, 8);
  bytes.writeUInt32LE(92, 12);
  bytes.writeBigUInt64LE(BigInt(own), 24);
  bytes.writeBigUInt64LE(BigInt(other), 32);
  bytes.writeBigUInt64LE(BigInt(2 + TABLE_SECTORS), 40);
  bytes.writeBigUInt64LE(BigInt(sectors - 2 - TABLE_SECTORS), 48);
  bytes.set(guidBytes(DISK_GUID), 56);
  bytes.writeBigUInt64LE(BigInt(entriesAt), 72);
  bytes.writeUInt32LE(ENTRIES, 80);
  bytes.writeUInt32LE(ENTRY, 84);
  bytes.writeUInt32LE(crc32(entries), 88);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 92)), 16);
  return bytes;
}

function protectiveMbr(sectors: number): Uint8Array {
  const bytes = Buffer.alloc(SECTOR);
  bytes.set([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff], 446);
  bytes.writeUInt32LE(1, 454);
  bytes.writeUInt32LE(Math.min(sectors - 1, 0xffffffff), 458);
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

/** Text form to the mixed-endian form on disk: the first three groups are little-endian. */
export function guidBytes(text: string): Uint8Array {
  const [a = "", b = "", c = "", d = "", e = ""] = text.split("-");
  const reversed = (hex: string): Buffer => Buffer.from(hex, "hex").reverse();
  return Buffer.concat([reversed(a), reversed(b), reversed(c), Buffer.from(d + e, "hex")]);
}
