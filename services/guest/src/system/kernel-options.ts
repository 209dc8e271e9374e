import type { StorageFs } from "@dstack/compose";
import { GuestError } from "../errors.ts";

/** What the (measured) kernel command line says about storage. */
export interface KernelOptions {
  readonly storageEncrypted: boolean;
  readonly storageFs: StorageFs;
  /** `/dev/...`, `PARTLABEL=...` or `PARTUUID=...`. */
  readonly dataDevice: string | undefined;
}

/**
 * Reads /proc/cmdline. Of a repeated option the last counts, as with the kernel's own.
 * @throws GuestError `config-invalid` for a value that is none
 */
export function parseKernelOptions(commandLine: string): KernelOptions {
  const value = (name: string): string | undefined =>
    commandLine
      .trim()
      .split(/\s+/)
      .findLast((word) => word.startsWith(`${name}=`))
      ?.slice(name.length + 1);
  return {
    storageEncrypted: parseSwitch("dstack.storage_encrypted", value("dstack.storage_encrypted") ?? "true"),
    storageFs: parseFs(value("dstack.storage_fs") ?? "zfs"),
    dataDevice: value("dstack.data_device"),
  };
}

function parseSwitch(name: string, value: string): boolean {
  if (["1", "true", "yes", "on"].includes(value)) return true;
  if (["0", "false", "no", "off"].includes(value)) return false;
  throw new GuestError(
    "config-invalid",
    `kernel option ${name}: expected 1, true, yes, on, 0, false, no or off, got "${value}"`,
  );
}

function parseFs(value: string): StorageFs {
  if (value === "zfs" || value === "ext4") return value;
  throw new GuestError("config-invalid", `Invalid filesystem type: ${value}, supported types: zfs, ext4`);
}
