import { equalBytes, toHex, type Hash32 } from "@dstack/bytes";
import { errorChain } from "@dstack/errors";
import { ImageError, listImages, readImageDirectory } from "@dstack/image";
import { readStoredImage, type ImageStore } from "@dstack/image/store";
import type { FoundImage, OsImageSource } from "./os-image-source.ts";

/** The images below a folder, one folder each. */
export function imagesBelow(folder: string): OsImageSource {
  return {
    find: async (hash) => {
      const image = (await listImages(folder)).find(
        ({ osImageHash }) => osImageHash !== undefined && equalBytes(osImageHash, hash),
      );
      return image === undefined
        ? { kind: "absent", reason: `no image below ${folder} has this hash` }
        : readAs(image.dir, hash);
    },
  };
}

/** The one image in a folder. */
export function imageIn(dir: string): OsImageSource {
  return {
    find: async (hash) => {
      try {
        const { osImageHash } = await readImageDirectory(dir);
        if (osImageHash === undefined || !equalBytes(osImageHash, hash))
          return {
            kind: "absent",
            reason: `the image in ${dir} is ${osImageHash === undefined ? "without sha256sum.txt" : toHex(osImageHash)}`,
          };
      } catch (error) {
        if (!(error instanceof ImageError)) throw error;
        return { kind: "absent", reason: errorChain(error) };
      }
      return readAs(dir, hash);
    },
  };
}

/** Images downloaded by hash and kept. */
export function downloadedImages(store: Pick<ImageStore, "imageOf">): OsImageSource {
  return {
    find: async (hash, signal) => {
      try {
        const { files, metadata } = await store.imageOf(hash, signal);
        return { kind: "files", files, metadata };
      } catch (error) {
        if (!(error instanceof ImageError)) throw error;
        return { kind: error.code === "image-unavailable" ? "absent" : "wrong", reason: errorChain(error) };
      }
    },
  };
}

/** Asks one source after the other until one has the image, right or wrong. */
export function firstOf(...sources: readonly OsImageSource[]): OsImageSource {
  return {
    find: async (hash, signal) => {
      const reasons: string[] = [];
      for (const source of sources) {
        const found = await source.find(hash, signal);
        if (found.kind !== "absent") return found;
        reasons.push(found.reason);
      }
      return { kind: "absent", reason: reasons.join("; ") || "nowhere to look for images" };
    },
  };
}

/** The files are read once: those that are measured are those that were hashed. */
async function readAs(dir: string, hash: Hash32): Promise<FoundImage> {
  const image = await readStoredImage(dir, hash);
  switch (image.kind) {
    case "good":
      return { kind: "files", files: image.files, metadata: image.metadata };
    case "bad":
      return { kind: "wrong", reason: image.reason };
    case "absent":
      return { kind: "absent", reason: `${dir} is gone` };
  }
}
