/** Run-time measurement registers through sysfs: reading gives 48 bytes, writing a digest extends. */
import { hash48 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { readAttribute, writeAttribute } from "./attribute.ts";
import { TeeError } from "./errors.ts";

/** @throws TeeError `tee-unavailable` */
export async function readRtmr(folder: string, index: 0 | 1 | 2 | 3): Promise<Hash48> {
  const path = `${folder}/rtmr${index}:sha384`;
  try {
    return hash48(await readAttribute(path, 48), `RTMR${index}`);
  } catch (cause) {
    throw unavailable(path, cause);
  }
}

/** Only 2 and 3 belong to the guest's software. @throws TeeError `tee-unavailable`, `register-invalid` */
export async function extendRtmr(folder: string, index: 2 | 3, digest: Hash48): Promise<void> {
  if (index !== 2 && index !== 3)
    throw new TeeError("register-invalid", `RTMR${String(index)} cannot be extended by software`);
  const path = `${folder}/rtmr${index}:sha384`;
  try {
    await writeAttribute(path, digest);
  } catch (cause) {
    throw unavailable(path, cause);
  }
}

function unavailable(path: string, cause: unknown): TeeError {
  return new TeeError(
    "tee-unavailable",
    `measurement registers are not available: need ${path} (Linux 6.16 or newer with TSM measurements)`,
    { cause },
  );
}
