/** The names under which a guest measures its boot into RTMR3; they are part of the format. */
export const BOOT_EVENT = {
  systemPreparing: "system-preparing",
  appId: "app-id",
  composeHash: "compose-hash",
  /** One for each init script. */
  initScriptHash: "init-script-hash",
  gpuPolicyHash: "gpu-policy-hash",
  gpuAttestation: "gpu-attestation",
  instanceId: "instance-id",
  bootMrDone: "boot-mr-done",
  osImageHash: "os-image-hash",
  mrKms: "mr-kms",
  keyProvider: "key-provider",
  storageFs: "storage-fs",
  /** The last one: what follows is the application's word. */
  systemReady: "system-ready",
} as const;

/** May come more than once: one per script, and one per key server tried (the first counts). */
export const REPEATABLE_BOOT_EVENTS: ReadonlySet<string> = new Set([
  BOOT_EVENT.initScriptHash,
  BOOT_EVENT.osImageHash,
  BOOT_EVENT.mrKms,
]);

/** Every name that the boot writes, of this version or an earlier one: no app may emit an event under it. */
export const BOOT_EVENTS: ReadonlySet<string> = new Set([
  ...Object.values(BOOT_EVENT),
  "upgraded-app-id",
  "rootfs-hash",
  "root-fs-hash",
]);
