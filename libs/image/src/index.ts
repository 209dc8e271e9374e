/** Guest OS images on disk: reading, checking, and the bundle that verifiers download. */
export {
  CHECKSUM_ORDER,
  formatChecksumFile,
  formatDigestFile,
  osImageHash,
  parseChecksumFile,
} from "./checksum-file.ts";
export type { FileChecksum } from "./checksum-file.ts";
export { ImageError } from "./errors.ts";
export type { ImageErrorCode } from "./errors.ts";
export { extractMrBundle } from "./extract-mr-bundle.ts";
export type { MrBundleLimits } from "./extract-mr-bundle.ts";
export { makeMrBundle } from "./make-mr-bundle.ts";
export { parseImageMetadata } from "./metadata.ts";
export type { ImageMetadata } from "./metadata.ts";
export { listImages, readImageDirectory } from "./read-image-directory.ts";
export type { ImageDirectory } from "./read-image-directory.ts";
export { verifyImageFiles } from "./verify-image-files.ts";
export type { ImageVerification } from "./verify-image-files.ts";
