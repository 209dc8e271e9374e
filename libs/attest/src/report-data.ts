import { concatBytes, reportData, toHex, utf8 } from "@dstack/bytes";
import type { ReportData } from "@dstack/bytes";
import { sha256, sha384, sha512 } from "#sha2";
import { keccak_256, keccak_384, keccak_512, sha3_256, sha3_384, sha3_512 } from "@noble/hashes/sha3.js";
import { excerpt } from "@dstack/errors";
import { AttestError } from "./errors.ts";

type Hash = (bytes: Uint8Array) => Uint8Array;

const HASHES: Readonly<Record<string, Hash>> = {
  "": sha512,
  sha512,
  sha256,
  sha384,
  "sha3-256": sha3_256,
  "sha3-384": sha3_384,
  "sha3-512": sha3_512,
  keccak256: keccak_256,
  keccak384: keccak_384,
  keccak512: keccak_512,
};

/**
 * Tags with a meaning to the platform: whoever may choose a tag freely could otherwise make
 * evidence for a key that is not theirs (a `ratls-cert` quote over another's certificate).
 */
export const RESERVED_TAGS: readonly string[] = ["ratls-cert", "kms-root-ca"];

/** Report data of the platform's own tags: SHA-512(tag ":" content), exactly 64 bytes. */
export function reportDataFor(tag: "ratls-cert" | "kms-root-ca" | "app-data", content: Uint8Array): ReportData {
  return reportData(sha512(concatBytes(utf8(`${tag}:`), content)));
}

/**
 * Report data for a tag and hash that the caller chose: HASH(tag ":" content), zeros to the right.
 * `hash` is one of "" or "sha512", "sha256", "sha384", "sha3-256/384/512", "keccak256/384/512" and
 * "raw" (content is exactly the 64 bytes, the tag is unused).
 * @throws AttestError `report-data-invalid` for a reserved tag, an unknown hash, or raw content not of 64 bytes
 */
export function customReportData(tag: string, content: Uint8Array, hash = ""): ReportData {
  if (RESERVED_TAGS.some((reserved) => tag === reserved || tag.startsWith(`${reserved}:`))) {
    throw new AttestError("report-data-invalid", `report data: tag "${tag}" is reserved; choose another prefix`);
  }
  if (hash === "raw") {
    if (content.length !== 64) {
      throw new AttestError(
        "report-data-invalid",
        `invalid content length: raw needs exactly 64 bytes, got ${content.length}`,
      );
    }
    return reportData(content.slice());
  }
  const digest = Object.hasOwn(HASHES, hash) ? HASHES[hash] : undefined;
  if (digest === undefined) {
    throw new AttestError(
      "report-data-invalid",
      `invalid hash algorithm: expected ${Object.keys(HASHES).filter(Boolean).join(", ")} or raw, got "${excerpt(hash, { maxChars: 40 })}"`,
    );
  }
  return padReportData(digest(concatBytes(utf8(`${tag}:`), content)));
}

/** For evidence that is newer than the nonce that somebody sent: SHA-512("dstack-evidence:" nonce). */
export const evidenceReportData = (nonce: Uint8Array): ReportData => customReportData("dstack-evidence", nonce);

/** Of a KMS that made its root keys: Keccak-256 over both public keys. The misspelt word is part of the format. */
export const generatedKeysReportData = (caPublicKey: Uint8Array, k256PublicKey: Uint8Array): ReportData =>
  padReportData(keccak_256(utf8(`dstack-kms-genereted-keys-v1:${toHex(caPublicKey)};${toHex(k256PublicKey)};`)));

/** Up to 64 bytes, zeros to the right: what the guest agent's GetQuote does. @throws AttestError `report-data-invalid` */
export function padReportData(bytes: Uint8Array): ReportData {
  if (bytes.length > 64)
    throw new AttestError("report-data-invalid", `Report data is too long: ${bytes.length} bytes, limit 64`);
  const out = new Uint8Array(64);
  out.set(bytes);
  return reportData(out);
}
