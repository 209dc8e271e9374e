/**
 * sha256sum.txt: `{64 lower hex}  {name}\n` per file, two spaces. The SHA-256 of these very
 * bytes is the identity of an image, so nothing is tolerated that a second writer could vary.
 */
import { createHash } from "node:crypto";
import { hash32, toHex, type Hash32 } from "@dstack/bytes";
import { ImageError } from "./errors.ts";

export interface FileChecksum {
  readonly name: string;
  readonly sha256: string;
}

/** Order of the files in sha256sum.txt; those behind the first four appear when the image has them. */
export const CHECKSUM_ORDER = [
  "ovmf.fd",
  "bzImage",
  "initramfs.cpio.gz",
  "metadata.json",
  "measurement.tdx.cbor",
  "measurement.snp.cbor",
  "measurement.gcp.cbor",
  "measurement.aws.cbor",
  "measurement.aws.replay.json",
] as const;

/** Most bytes of a sha256sum.txt that is read. */
export const MAX_CHECKSUM_BYTES = 16_384;

/**
 * Reads sha256sum.txt.
 * @throws ImageError `bad-checksums` for a malformed line, a name with a slash or `..`, or a duplicate
 */
export function parseChecksumFile(bytes: Uint8Array): FileChecksum[] {
  if (bytes.length > MAX_CHECKSUM_BYTES)
    throw new ImageError(
      "bad-checksums",
      `sha256sum.txt has ${bytes.length} bytes, at most ${MAX_CHECKSUM_BYTES} are allowed`,
    );
  const text = Buffer.from(bytes).toString("latin1");
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new ImageError("bad-checksums", "sha256sum.txt does not end with a newline");
  const seen = new Set<string>();
  return lines.map((line, index) => {
    const match = /^([0-9a-f]{64}) {2}([A-Za-z0-9._+-]{1,128})$/.exec(line);
    const [, sha256, name] = match ?? [];
    if (sha256 === undefined || name === undefined || name === "." || name.includes("..")) {
      throw new ImageError(
        "bad-checksums",
        `sha256sum.txt line ${index + 1}: expected 64 hex digits, two spaces and a plain file name, got "${line.slice(0, 100)}"`,
      );
    }
    if (seen.has(name)) throw new ImageError("bad-checksums", `sha256sum.txt lists ${name} twice`);
    seen.add(name);
    return { name, sha256 };
  });
}

/** Inverse of `parseChecksumFile`. */
export function formatChecksumFile(files: readonly FileChecksum[]): Uint8Array {
  return Buffer.from(files.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(""), "latin1");
}

/** os_image_hash: SHA-256 of the bytes of sha256sum.txt. */
export function osImageHash(checksumFile: Uint8Array): Hash32 {
  return hash32(createHash("sha256").update(checksumFile).digest());
}

/** Contents of digest.txt: lower hex and a newline. */
export function formatDigestFile(hash: Hash32): string {
  return `${toHex(hash)}\n`;
}
