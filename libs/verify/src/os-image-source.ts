import type { Hash32 } from "@dstack/bytes";
import type { ImageMetadata } from "@dstack/image";
import type { MeasurementMaterial, VmFiles } from "@dstack/measure";

/** Where the verifier has images from. */
export interface OsImageSource {
  /** A refusal is a value; throws only where something is broken, or the signal's reason. */
  find(hash: Hash32, signal?: AbortSignal): Promise<FoundImage>;
}

export type FoundImage =
  | { readonly kind: "files"; readonly files: VmFiles; readonly metadata: ImageMetadata }
  /** Only the image's measurement document, as evidence bundles carry it. */
  | { readonly kind: "document"; readonly material: MeasurementMaterial }
  /** Not here, so nothing can be said about the registers. */
  | { readonly kind: "absent"; readonly reason: string }
  /** Here, and not what its hash says. */
  | { readonly kind: "wrong"; readonly reason: string };

export type NotFound = Extract<FoundImage, { readonly kind: "absent" | "wrong" }>;

/** `document`: from the image's own measurement document; `lite`: the same, the ACPI tables taken on trust from the log. */
export type OsImageMethod = "image" | "document" | "lite";
