import { CodedError } from "@dstack/errors";

/** Every way this package fails, by stable code. */
export type ImageErrorCode =
  | "bad-metadata"
  | "bad-checksums"
  | "bad-bundle"
  | "not-an-image"
  | "image-unavailable"
  | "wrong-image"
  | "bad-cache-key"
  | "bad-recipe"
  | "bad-lock"
  | "no-mirror"
  | "package-unavailable"
  | "wrong-package"
  | "no-space"
  | "build-failed"
  | "registry";

/** Text says what was checked, what was expected, what came, and what to do next; match on `code`. */
export class ImageError extends CodedError<ImageErrorCode> {}
