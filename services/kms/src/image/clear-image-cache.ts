import { withContext } from "../with-context.ts";
import type { ImageStore } from "./image-store.ts";
import type { OsImageVerifier } from "./os-image-verifier.ts";

export interface ImageCaches {
  readonly images: ImageStore;
  readonly verifier: OsImageVerifier;
}

/**
 * Removes an image by hash, and measurements: those are kept in memory, so any name but "" forgets all.
 * @throws RpcError with the context that clients know
 */
export async function clearImageCache({ images, verifier }: ImageCaches, imageHash: string, configHash: string): Promise<void> {
  await withContext("failed to clear image cache", () => images.clear("images", imageHash));
  await withContext("failed to clear measurement cache", () => images.clear("measurements", configHash));
  if (imageHash !== "" || configHash !== "") verifier.forget();
}
