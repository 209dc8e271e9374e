/** A cache of what measures OS images: downloaded once by hash, checked whenever it is read. */
export { ImageStore } from "./image-store.ts";
export type { ImageStoreOptions } from "./image-store.ts";
export { SharedWork } from "./shared-work.ts";
export { readStoredImage } from "./stored-image.ts";
export type { MeasuredImage, StoredImage } from "./stored-image.ts";
