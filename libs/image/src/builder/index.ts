/** Builds guest OS images. */
export { bundleProgram } from "./bundle.ts";
export { IMAGE_VERSION } from "./assemble-image.ts";
export { buildImage } from "./build-image.ts";
export type { BuildImageOptions, BuiltImage } from "./build-image.ts";
export type { BuildProgress } from "./progress.ts";
export { FLAVOURS } from "./recipe.ts";
export type { Flavour } from "./recipe.ts";
export { imagePackage } from "./image-package.ts";
export { readBusybox } from "./read-busybox.ts";
export { makeCpio } from "./cpio.ts";
export type { CpioEntry } from "./cpio.ts";
