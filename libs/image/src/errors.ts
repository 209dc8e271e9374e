import { CodedError, type ErrorTable } from "@dstack/errors";

export const IMAGE_ERRORS = {
  "bad-metadata": "metadata.json of the image cannot be used",
  "bad-checksums": "sha256sum.txt of the image breaks its format",
  "bad-bundle": "the archive holds what an image bundle may not hold",
  "not-an-image": "the folder holds no image: a file is missing or of the wrong kind",
  "image-unavailable": "the image could not be downloaded",
  "wrong-image": "the image's files are not those that its hash names",
  "bad-cache-key": "the name to remove from the cache is no hash",
  "bad-recipe": "the recipe of the guest image contradicts itself or the packages",
  "bad-lock": "image/packages.lock breaks its format",
  "no-mirror": "no Debian archive is configured, or its keys are missing",
  "package-unavailable": "a package or a package list could not be fetched",
  "wrong-package": "a downloaded package is not the one that the lock names",
  "no-space": "the disk has too little room",
  "build-failed": "a step of the image's build failed",
  registry: "the container registry refused, or the name given to it is none",
} as const satisfies ErrorTable;

export type ImageErrorCode = keyof typeof IMAGE_ERRORS;

/** Text says what was checked, what was expected, what came, and what to do next; match on `code`. */
export class ImageError extends CodedError<ImageErrorCode> {}
