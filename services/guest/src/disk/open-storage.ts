/**
 * disk/ is the app's encrypted disk.
 * In: the disk key, the block devices as the host gave them.
 * Out: the disk, mounted, and the swap file on it.
 * Never: a key as an argument; a header of any form but ours near the key; a write to a disk that holds something
 * that is not ours.
 */
import { BOOT_EVENT } from "@dstack/attest";
import type { Tee } from "@dstack/agent";
import { utf8 } from "@dstack/bytes";
import type { BootInputs } from "../host/boot-inputs.ts";
import type { BootContext } from "../system/boot-context.ts";
import { setUpSwap } from "../system/swap.ts";
import { closeDataDisk, openDataDisk } from "./data-disk.ts";
import { findDataDevice } from "./find-data-device.ts";

/**
 * Measures the kind of storage, opens the data disk and sets up swap on it.
 * @throws GuestError `disk-invalid`, `disk-key-wrong`
 */
export async function openStorage(boot: BootContext, inputs: BootInputs, tee: Tee, key: Uint8Array): Promise<void> {
  const { paths, run, log, onShutdown } = boot;
  const { swapSizeBytes } = inputs.manifest.compose;
  await tee.emit(BOOT_EVENT.storageFs, utf8(inputs.storageFs));
  const device = await findDataDevice(inputs.kernelOptions.dataDevice, log);
  onShutdown(() => closeDataDisk(paths.persistent, run));
  const { initialized } = await openDataDisk({
    device,
    mountPoint: paths.persistent,
    headerFolder: paths.luksHeader,
    mapperFolder: paths.deviceMapper,
    key,
    run,
    log,
    onProgress: boot.progress,
  });
  log.info({ device, initialized }, "data disk open");
  await setUpSwap(swapSizeBytes, paths.persistent, run);
  if (swapSizeBytes > 0n) onShutdown(() => run("swapoff", ["-a"]));
}
