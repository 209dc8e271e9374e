import { asRefusal } from "@dstack/errors";
import type { ImageStore } from "@dstack/image/store";
import { KmsError } from "../errors.ts";
import { withContext } from "../with-context.ts";
import type { OsImageVerifier } from "./os-image-verifier.ts";

export interface ImageCaches {
  readonly images: ImageStore;
  readonly verifier: OsImageVerifier;
}

/**
 * Removes an image by hash, and measurements: those are kept in memory too, so any name but "" forgets all.
 * @throws RpcError with the context that clients know
 */
export async function clearImageCache(
  { images, verifier }: ImageCaches,
  imageHash: string,
  configHash: string,
): Promise<void> {
  await withContext("failed to clear image cache", () => cleared(images, "images", imageHash));
  await withContext("failed to clear measurement cache", () => cleared(images, "measurements", configHash));
  if (imageHash !== "" || configHash !== "") verifier.forget();
}

async function cleared(images: ImageStore, kind: "images" | "measurements", name: string): Promise<void> {
  await asRefusal(
    () => images.clear(kind, name),
    (cause) => new KmsError("image-mismatch", cause.message),
  );
}
