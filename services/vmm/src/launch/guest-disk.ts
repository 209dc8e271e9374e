import { run } from "@dstack/process";
import { VmmError } from "../errors.ts";
import type { VmFolder } from "../vm/vm-folder.ts";

/** Makes the data disk at the first start; later starts keep it. @throws VmmError `disk-failed` */
export async function ensureDisk(
  folder: VmFolder,
  imgPath: string,
  sizeGb: number,
  backing: string | undefined,
): Promise<void> {
  if (await folder.hasDisk()) return;
  const base = backing === undefined ? [] : ["-o", `backing_file=${backing}`, "-o", "backing_fmt=qcow2"];
  await qemuImg(imgPath, ["create", "-f", "qcow2", ...base, folder.file.disk, `${sizeGb}G`], "Failed to create disk");
}

/** @throws VmmError `disk-failed` */
export async function growDisk(folder: VmFolder, imgPath: string, sizeGb: number): Promise<void> {
  if (await folder.hasDisk())
    await qemuImg(imgPath, ["resize", folder.file.disk, `${sizeGb}G`], "Failed to resize disk");
}

async function qemuImg(imgPath: string, args: readonly string[], what: string): Promise<void> {
  try {
    await run(imgPath, args, { timeoutMs: 60_000 });
  } catch (cause) {
    throw new VmmError("disk-failed", what, { cause });
  }
}
