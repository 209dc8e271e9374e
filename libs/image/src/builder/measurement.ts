/** measurement.tdx.cbor of an image folder: the document that lite verification reads. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { TDX_MEASUREMENT_FILE, tdxMeasurementCbor } from "@dstack/measure";

/** Computes it from the files that lie in `image`. */
export async function writeMeasurement(image: string, cmdline: string): Promise<void> {
  const read = (name: string): Promise<Uint8Array> => readFile(join(image, name));
  const [firmware, kernel, initrd] = [await read("ovmf.fd"), await read("bzImage"), await read("initramfs.cpio.gz")];
  await writeFile(join(image, TDX_MEASUREMENT_FILE), tdxMeasurementCbor({ firmware, kernel, initrd, cmdline }));
}
