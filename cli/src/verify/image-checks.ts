import { readFile } from "node:fs/promises";
import { equalBytes, toHex } from "@dstack/bytes";
import { fail, notBound, pass, type Check, type EventLogEntry, type TdReport } from "@dstack/attest";
import { listImages, readImageDirectory, verifyImageFiles, type ImageDirectory } from "@dstack/image";
import { compareMeasurements, measureVm, parseVmConfig, type VmFiles } from "@dstack/measure";

export interface ImageChecksInput {
  readonly report: TdReport;
  readonly eventLog: readonly EventLogEntry[];
  readonly vmConfig: string;
  /** Folder of images to look the claimed hash up in. */
  readonly images: string;
  /** One image folder instead. */
  readonly imageDir: string | undefined;
}

/** Compares the quoted registers with what the claimed image would give: firmware, hardware, kernel, command line and initrd. */
export async function imageChecks(input: ImageChecksInput): Promise<readonly Check[]> {
  const config = parseVmConfig(input.vmConfig);
  const claimed = config.osImageHash;
  if (claimed === undefined) return [{ name: "os-image", ...notBound("the guest names no image") }];
  const image = await findImage(input, claimed);
  if (image === undefined) return [{ name: "os-image", ...notBound(`image ${toHex(claimed)} is not on this machine, so its measurements cannot be compared; give its folder with --image-dir`) }];
  const files = await verifyImageFiles(image.dir);
  if (!files.ok) return [{ name: "os-image", ...fail(`the local copy of the image is damaged: ${files.reason}`) }];
  const measured = measureVm(await readVmFiles(image), config);
  const [rtmr0, rtmr1, rtmr2] = input.report.rtmr;
  const differences = compareMeasurements(measured, { mrtd: input.report.mrTd, rtmr0, rtmr1, rtmr2 }, input.eventLog, config);
  const judge = (name: string, register: string, what: string): Check => {
    const difference = differences.find((candidate) => candidate.register === register);
    return { name, ...(difference === undefined ? pass(`${register} is that of ${what}`) : fail(`${register} differs: ${difference.hint}`)) };
  };
  return [
    { name: "os-image", ...pass(`${image.name}, hash ${toHex(claimed)}`) },
    judge("firmware", "MRTD", "the image's firmware"),
    judge("virtual-hardware", "RTMR0", `${config.cpuCount} CPUs, ${config.memoryBytes / 2 ** 20} MiB, the expected devices`),
    judge("kernel", "RTMR1", "the image's kernel"),
    judge("command-line-and-initrd", "RTMR2", "the image's command line (with the root hash) and initrd"),
  ];
}

async function findImage(input: ImageChecksInput, hash: Uint8Array): Promise<ImageDirectory | undefined> {
  const images = input.imageDir === undefined ? await listImages(input.images) : [await readImageDirectory(input.imageDir)];
  return images.find((image) => image.osImageHash !== undefined && equalBytes(image.osImageHash, hash));
}

async function readVmFiles(image: ImageDirectory): Promise<VmFiles> {
  const read = async (path: string): Promise<Uint8Array> => new Uint8Array(await readFile(path));
  return { firmware: await read(image.files.bios ?? ""), kernel: await read(image.files.kernel), initrd: await read(image.files.initrd), cmdline: image.metadata.cmdline ?? "" };
}
