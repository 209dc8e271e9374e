/** Checks an image folder against its own sha256sum.txt. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Hash32 } from "@dstack/bytes";
import { MAX_CHECKSUM_BYTES, osImageHash, parseChecksumFile } from "./checksum-file.ts";
import { readSmall } from "./read-image-directory.ts";

export type ImageVerification =
  | { readonly ok: true; readonly osImageHash: Hash32; readonly files: readonly string[] }
  | { readonly ok: false; readonly reason: string };

/**
 * Recomputes every hash that sha256sum.txt lists. The root file system is not listed (its
 * hash is on the kernel command line and dm-verity checks it at each read).
 * @throws ImageError `bad-checksums` when sha256sum.txt itself is malformed
 */
export async function verifyImageFiles(dir: string): Promise<ImageVerification> {
  const sums = await readSmall(dir, "sha256sum.txt", MAX_CHECKSUM_BYTES);
  if (sums === undefined) return { ok: false, reason: `${dir} has no sha256sum.txt` };
  const listed = parseChecksumFile(sums);
  for (const required of ["bzImage", "initramfs.cpio.gz", "metadata.json", "ovmf.fd"]) {
    if (!listed.some(({ name }) => name === required))
      return { ok: false, reason: `sha256sum.txt does not list ${required}` };
  }
  for (const { name, sha256 } of listed) {
    const path = join(dir, name);
    const info = await lstat(path).catch(() => undefined);
    if (info === undefined || !info.isFile())
      return {
        ok: false,
        reason: `${name} is listed in sha256sum.txt but ${info === undefined ? "missing" : "not a regular file"}`,
      };
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    const got = hash.digest("hex");
    if (got !== sha256) return { ok: false, reason: `${name}: sha256sum.txt expects ${sha256}, the file has ${got}` };
  }
  return { ok: true, osImageHash: osImageHash(sums), files: listed.map(({ name }) => name) };
}
