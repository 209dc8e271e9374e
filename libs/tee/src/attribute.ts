/** Reads and writes of kernel attribute files: their size is unknown beforehand and one write is one command. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { TeeError } from "./errors.ts";

/**
 * The whole attribute, at most `maxBytes`.
 * @throws the system's error, or TeeError `quote-invalid` above the limit
 */
export async function readAttribute(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY);
  try {
    const buffer = new Uint8Array(maxBytes + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
      length += bytesRead;
      if (length > maxBytes) throw new TeeError("quote-invalid", `${path}: above ${maxBytes} bytes`);
      if (bytesRead === 0) return buffer.slice(0, length);
    }
  } finally {
    await file.close();
  }
}

/** As text without the final newline. */
export async function readAttributeText(path: string): Promise<string> {
  return Buffer.from(await readAttribute(path, 4096))
    .toString("latin1")
    .trimEnd();
}

/** Bytes in one write, without truncating or creating. */
export async function writeAttribute(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, constants.O_WRONLY);
  try {
    const { bytesWritten } = await file.write(bytes, 0, bytes.length, null);
    if (bytesWritten !== bytes.length)
      throw new TeeError("quote-invalid", `${path}: ${bytesWritten} of ${bytes.length} bytes were taken`);
  } finally {
    await file.close();
  }
}
