import { open } from "node:fs/promises";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import { isRefusal, refusalOf } from "./refusal.ts";

/** More than any attestation or log that a reader takes. */
const MAX_FILE_BYTES = 24 * 1024 * 1024;

/** Runs a command on a file's bytes; what a reader refuses is its outcome, with the reader's stable code. */
export async function judgedFile(
  { out }: Cli,
  file: string,
  format: "text" | "json",
  run: (bytes: Uint8Array) => number,
): Promise<number> {
  const bytes = await readBounded(file);
  try {
    return run(bytes);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const refusal = refusalOf(error);
    if (format === "json") out.json({ ok: false, ...refusal });
    else out.say(`refused: ${visible(refusal.reason)}`);
    return 3;
  }
}

async function readBounded(file: string): Promise<Uint8Array> {
  const handle = await open(file, "r").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") throw new CliError("not-found", `${file} does not exist`);
    throw cause;
  });
  try {
    const { size } = await handle.stat();
    if (size > MAX_FILE_BYTES) throw new CliError("failed", `${file} has ${size} bytes, limit ${MAX_FILE_BYTES}`);
    return new Uint8Array(await handle.readFile());
  } finally {
    await handle.close();
  }
}
