/** Builds guest OS images. */
export { buildImage, IMAGE_VERSION } from "./build-image.ts";
export type { BuildImageOptions, BuildProgress, BuiltImage } from "./build-image.ts";
export { FLAVOURS } from "./recipe.ts";
export type { Flavour } from "./recipe.ts";
export { readBusybox } from "./read-busybox.ts";
