import { parseSize, toHex } from "@dstack/bytes";
import { measureVm, type MeasureOptions, type Registers, type VmConfig } from "@dstack/measure";
import { asRefusal } from "@dstack/errors";
import { CliError } from "../terminal/errors.ts";
import { readMeasuredImage } from "./image-files.ts";
import type { Cli } from "../clients/cli.ts";
import type { MrMeasureOptions } from "./options.ts";

/** The one image whose metadata.json does not name its firmware, which is not the usual one. */
const STABLE_FIRMWARE_VERSION = "0.5.10";

/** `dstack mr measure`, which is `dstack mr` without a command. */
export async function mrMeasure({ out }: Cli, metadata: string | undefined, options: MrMeasureOptions): Promise<void> {
  if ((metadata === undefined) === (options.image === undefined))
    throw new CliError("usage", "give the image once: --image DIR, or the path of its metadata.json");
  const config = vmConfigOf(options);
  const image = await readMeasuredImage(metadata ?? options.image ?? "");
  const ovmfVariant = config.ovmfVariant ?? image.metadata.ovmf_variant;
  const measured = measurable(() =>
    measureVm(image.files, { ...config, ...(ovmfVariant === undefined ? {} : { ovmfVariant }) }, hardwareOf(options)),
  );
  const hash = image.osImageHash === undefined ? undefined : toHex(image.osImageHash);
  if (options.json === true || options.output === "json")
    return out.json({ ...registersJson(measured), ...(hash === undefined ? {} : { os_image_hash: hash }) });
  out.print(registersText(measured));
  if (hash !== undefined) out.print(`OS image hash: ${hash}`);
}

/** As a VM configuration would say it. */
export function vmConfigOf(options: MrMeasureOptions): VmConfig {
  if (options.cpu !== undefined && options.vcpu !== undefined && options.cpu !== options.vcpu)
    throw new CliError("usage", `--cpu ${options.cpu} and --vcpu ${options.vcpu} are the same option`);
  const ovmfVariant =
    options.ovmfVariant ?? (options.dstackOsVersion === STABLE_FIRMWARE_VERSION ? "stable202505" : undefined);
  return {
    cpuCount: count("--vcpu", options.vcpu ?? options.cpu ?? "1"),
    memoryBytes: size("--memory", options.memory),
    ...(options.twoPassAddPages === undefined ? {} : { twoPassAddPages: options.twoPassAddPages === "true" }),
    ...(options.pic === undefined ? {} : { pic: options.pic === "true" }),
    ...(options.qemuVersion === undefined ? {} : { qemuVersion: options.qemuVersion }),
    pciHole64Bytes: options.pciHole64Size === undefined ? 0 : size("--pci-hole64-size", options.pciHole64Size),
    hugepages: options.hugepages ?? false,
    numGpus: count("--num-gpus", options.numGpus),
    numNvswitches: count("--num-nvswitches", options.numNvswitches),
    numNics: count("--num-nics", options.numNics),
    numVerityVolumes: count("--num-verity-volumes", options.numVerityVolumes),
    swtpm: options.swtpm ?? false,
    hotplugOff: options.hotplugOff ?? false,
    ...(ovmfVariant === undefined ? {} : { ovmfVariant }),
    attestationVariant: "legacy",
  };
}

const hardwareOf = ({ smm, rootVerity, unpatchedKernel }: MrMeasureOptions): MeasureOptions => ({
  smm: smm ?? false,
  rootVerity: rootVerity === "true",
  kernelHeader: unpatchedKernel === true ? "as in the file" : "patched",
});

/** Runs a computation over the user's input; what cannot be measured is the command's failure. */
export function measurable<T>(compute: () => T): T {
  return asRefusal(
    compute,
    (cause) =>
      new CliError(cause.code === "vm-config-invalid" ? "usage" : "failed", "this VM cannot be measured", { cause }),
  );
}

export const registersJson = ({ mrtd, rtmr0, rtmr1, rtmr2 }: Registers): Record<keyof Registers, string> => ({
  mrtd: toHex(mrtd),
  rtmr0: toHex(rtmr0),
  rtmr1: toHex(rtmr1),
  rtmr2: toHex(rtmr2),
});

/** The lines that the reference's tool prints. */
export const registersText = (registers: Registers): string =>
  [
    "Machine measurements:",
    ...Object.entries(registersJson(registers)).map(([name, value]) => `${name.toUpperCase()}: ${value}`),
  ].join("\n");

function count(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new CliError("usage", `${option} ${text}: expected a whole number`);
  return Number(text);
}

function size(option: string, text: string): number {
  try {
    const bytes = Number(parseSize(text));
    if (Number.isSafeInteger(bytes)) return bytes;
  } catch (cause) {
    throw new CliError("usage", `${option} ${text}: expected bytes, 0x..., or a number with K, M, G or T`, { cause });
  }
  throw new CliError("usage", `${option} ${text}: expected less than 2^53 bytes`);
}
