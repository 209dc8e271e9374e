/** Container images in OCI form, and a push to a registry. */
export { buildBusyboxImage } from "./busybox-image.ts";
export type { BusyboxImageOptions } from "./busybox-image.ts";
export { makeOciImage } from "./oci-image.ts";
export type { OciImage, OciImageOptions } from "./oci-image.ts";
export { makeLayer } from "./layer.ts";
export type { LayerEntry } from "./layer.ts";
export { pushImage } from "./push-image.ts";
export type { PushedImage, PushOptions } from "./push-image.ts";
