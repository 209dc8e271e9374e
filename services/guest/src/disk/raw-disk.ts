/** The first bytes of a disk: read as far as they go, written so that a kill leaves the disk blank or whole. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { GuestError } from "../errors.ts";
import { LUKS_DATA_OFFSET } from "./luks-header.ts";

/**
 * Writes the header area: key slots first, both header copies in one write last. Until that write
 * the disk begins with zeros and counts as blank.
 */
export async function commitHeader(header: string, device: string): Promise<void> {
  const area = await readStart(header, LUKS_DATA_OFFSET);
  const copies = 32_768;
  const disk = await open(device, "r+");
  try {
    await disk.write(area, copies, area.length - copies, copies);
    await disk.sync();
    await disk.write(area, 0, copies, 0);
    await disk.sync();
  } finally {
    await disk.close();
  }
}

/**
 * The first `length` bytes of a disk or file, fewer where it has no more.
 * @throws GuestError `disk-invalid` where it cannot be read
 */
export async function readStart(path: string, length: number): Promise<Uint8Array> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new GuestError("disk-invalid", `${path} cannot be read`, { cause });
  }
  try {
    const bytes = new Uint8Array(length);
    let offset = 0;
    while (offset < length) {
      const { bytesRead } = await file.read(bytes, offset, length - offset, offset);
      if (bytesRead === 0) break;
      offset += bytesRead;
    }
    return bytes.subarray(0, offset);
  } finally {
    await file.close();
  }
}
