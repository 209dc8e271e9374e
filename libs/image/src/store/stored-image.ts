import { createHash } from "node:crypto";
import { equalBytes, toHex, type Hash32 } from "@dstack/bytes";
import { errorChain } from "@dstack/errors";
import type { VmFiles } from "@dstack/measure";
import { MAX_CHECKSUM_BYTES, osImageHash, parseChecksumFile } from "../checksum-file.ts";
import { ImageError } from "../errors.ts";
import { MAX_UNPACKED_BYTES } from "../extract-mr-bundle.ts";
import { MAX_METADATA_BYTES, parseImageMetadata, type ImageMetadata } from "../metadata.ts";
import { readSmall } from "../read-image-directory.ts";

export type StoredImage =
  | { readonly kind: "absent" }
  | { readonly kind: "bad"; readonly reason: string }
  | ({ readonly kind: "good" } & MeasuredImage);

/** What measures an image, and what its metadata.json says about it; both under the image's hash. */
export interface MeasuredImage {
  readonly files: VmFiles;
  readonly metadata: ImageMetadata;
}

/**
 * Reads an unpacked image and compares every listed file with the list, and the list with the
 * image's hash. Each file is read once: the bytes given out are those that were hashed.
 */
export async function readStoredImage(folder: string, hash: Hash32): Promise<StoredImage> {
  try {
    const sums = await readSmall(folder, "sha256sum.txt", MAX_CHECKSUM_BYTES);
    if (sums === undefined)
      return (await readSmall(folder, "metadata.json", MAX_METADATA_BYTES)) === undefined
        ? { kind: "absent" }
        : { kind: "bad", reason: "sha256sum.txt is missing" };
    const got = osImageHash(sums);
    if (!equalBytes(got, hash))
      return {
        kind: "bad",
        reason: `os_image_hash does not match sha256(sha256sum.txt): expected ${toHex(hash)}, got ${toHex(got)}`,
      };
    const files = new Map<string, Uint8Array>();
    let left = MAX_UNPACKED_BYTES;
    for (const { name, sha256 } of parseChecksumFile(sums)) {
      const bytes = await readSmall(folder, name, left);
      left -= bytes?.length ?? 0;
      const actual = bytes === undefined ? "no such file" : createHash("sha256").update(bytes).digest("hex");
      if (bytes === undefined || actual !== sha256)
        return {
          kind: "bad",
          reason: `Checksum verification failed: ${name}: sha256sum.txt expects ${sha256}, got ${actual}`,
        };
      files.set(name, bytes);
    }
    return vmFiles(files);
  } catch (error) {
    if (error instanceof ImageError) return { kind: "bad", reason: errorChain(error) };
    throw error;
  }
}

function vmFiles(files: ReadonlyMap<string, Uint8Array>): StoredImage {
  const metadataBytes = files.get("metadata.json");
  if (metadataBytes === undefined) return { kind: "bad", reason: "metadata.json not found in the extracted archive" };
  const metadata = parseImageMetadata(metadataBytes);
  const { bios, kernel: kernelName, initrd: initrdName, cmdline = "" } = metadata;
  if (bios === undefined)
    return { kind: "bad", reason: "metadata.json names no bios, so the firmware cannot be measured" };
  const [firmware, kernel, initrd] = [bios, kernelName, initrdName].map((name) => files.get(name));
  if (firmware === undefined || kernel === undefined || initrd === undefined)
    return { kind: "bad", reason: `sha256sum.txt does not list all of ${bios}, ${kernelName}, ${initrdName}` };
  return { kind: "good", files: { firmware, kernel, initrd, cmdline }, metadata };
}
