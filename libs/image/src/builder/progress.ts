/** What a build is doing, for people. */
export interface BuildProgress {
  readonly phase:
    | "packages"
    | "unpack"
    | "bundle"
    | "rootfs"
    | "squashfs"
    | "verity"
    | "publish"
    | "cached"
    | "waiting";
  readonly text: string;
  /** 0 to 100 within the phase, where it is known. */
  readonly percent?: number;
}
