import { chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RunProgram } from "./run-program.ts";

/** Makes the swap file on the encrypted disk anew, or removes it where no swap is asked for. */
export async function setUpSwap(sizeBytes: bigint, mountPoint: string, run: RunProgram): Promise<void> {
  const file = join(mountPoint, "swapfile");
  await rm(file, { force: true });
  if (sizeBytes === 0n) return;
  await run("fallocate", ["-l", String(sizeBytes), file], { timeoutMs: 120_000 });
  await chmod(file, 0o600);
  await run("mkswap", [file]);
  await run("swapon", [file]);
}
