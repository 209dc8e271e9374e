/**
 * dm-verity hash tree, format 1, as `veritysetup format` writes it: SHA-256, blocks of
 * 4096 bytes, no salt (the image is public and its root hash is on the kernel command line).
 *
 *   data | superblock (4096) | level n (one block) … level 0 (hashes of the data blocks)
 *
 * Superblock, little-endian (kernel documentation, admin-guide/device-mapper/verity and
 * cryptsetup's on-disk format): "verity\0\0", u32 version 1, u32 type 1, 16 bytes UUID,
 * 32 bytes algorithm name, u32 data block size, u32 hash block size, u64 data blocks,
 * u16 salt length, 6 bytes, 256 bytes salt, zeros to 512.
 */
import { hash as digestOf } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { ImageError } from "../errors.ts";

const BLOCK = 4096;
const PER_BLOCK = BLOCK / 32;
/** The superblock is outside the hash; a fixed id keeps equal images equal. */
const UUID = Buffer.from("d5acc0000000400080000000000000ff", "hex");
const READ = 1024 * BLOCK;

export interface VerityTree {
  /** 32 bytes. */
  readonly rootHash: Uint8Array;
  /** Superblock and levels, to be written directly behind the data. */
  readonly bytes: Uint8Array;
}

/** Hashes `sizeBytes` of `file` from its start; `sizeBytes` is a multiple of 4096. */
export async function makeVerityTree(file: FileHandle, sizeBytes: number): Promise<VerityTree> {
  if (sizeBytes % BLOCK !== 0 || sizeBytes === 0)
    throw new ImageError("build-failed", `root file system has ${sizeBytes} bytes, expected a multiple of ${BLOCK}`);
  const blocks = sizeBytes / BLOCK;
  const levels: Uint8Array[] = [await hashFile(file, blocks)];
  for (let level = levels[0]; level !== undefined && level.length > BLOCK; level = levels.at(-1))
    levels.push(hashLevel(level));
  const top = levels.at(-1) ?? new Uint8Array(BLOCK);
  return { rootHash: blockHash(top), bytes: Buffer.concat([superblock(blocks), ...levels.reverse()]) };
}

async function hashFile(file: FileHandle, blocks: number): Promise<Uint8Array> {
  const level = emptyLevel(blocks);
  const chunk = Buffer.alloc(READ);
  for (let block = 0; block < blocks;) {
    const want = Math.min(READ, (blocks - block) * BLOCK);
    const { bytesRead } = await file.read(chunk, 0, want, block * BLOCK);
    if (bytesRead !== want)
      throw new ImageError(
        "build-failed",
        `root file system ended at ${block * BLOCK + bytesRead}, expected ${blocks * BLOCK} bytes`,
      );
    for (let at = 0; at < want; at += BLOCK, block++) level.set(blockHash(chunk.subarray(at, at + BLOCK)), block * 32);
  }
  return level;
}

function hashLevel(below: Uint8Array): Uint8Array {
  const blocks = below.length / BLOCK;
  const level = emptyLevel(blocks);
  for (let block = 0; block < blocks; block++)
    level.set(blockHash(below.subarray(block * BLOCK, (block + 1) * BLOCK)), block * 32);
  return level;
}

const emptyLevel = (hashes: number): Uint8Array => new Uint8Array(Math.ceil(hashes / PER_BLOCK) * BLOCK);

const blockHash = (block: Uint8Array): Uint8Array => digestOf("sha256", block, "buffer");

function superblock(blocks: number): Uint8Array {
  const bytes = Buffer.alloc(BLOCK);
  bytes.write("verity\0\0", 0, "latin1");
  bytes.writeUInt32LE(1, 8);
  bytes.writeUInt32LE(1, 12);
  bytes.set(UUID, 16);
  bytes.write("sha256", 32, "latin1");
  bytes.writeUInt32LE(BLOCK, 64);
  bytes.writeUInt32LE(BLOCK, 68);
  bytes.writeBigUInt64LE(BigInt(blocks), 72);
  return bytes;
}
