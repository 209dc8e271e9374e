import fs, { type FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const CALLS = ["open", "rename", "rm", "mkdir", "unlink"] as const;

/**
 * Runs `work` while calls that change the disk are counted, and fail where `failAt` gives an error
 * for their number; a write that fails has written half. @returns how many calls there were
 */
export async function onFailingDisk(
  failAt: (call: number, name: string) => Error | undefined,
  work: () => Promise<unknown>,
): Promise<{ calls: number; error: unknown }> {
  let calls = 0;
  const check = (name: string): void => {
    const error = failAt(++calls, name);
    if (error !== undefined) throw error;
  };
  const originals = CALLS.map((name) => [name, fs[name]] as const);
  const table = fs as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const [name, original] of originals) {
    table[name] = async (...args) => {
      check(name);
      const result = await (original as (...args: unknown[]) => Promise<unknown>)(...args);
      return name === "open" ? failingHandle(result as FileHandle, check) : result;
    };
  }
  syncBuiltinESMExports();
  try {
    await work();
    return { calls, error: undefined };
  } catch (error) {
    return { calls, error };
  } finally {
    Object.assign(fs, Object.fromEntries(originals));
    syncBuiltinESMExports();
  }
}

function failingHandle(file: FileHandle, check: (name: string) => void): FileHandle {
  const write = file.writeFile.bind(file);
  file.writeFile = async (data, options) => {
    const bytes = typeof data === "string" ? Buffer.from(data) : (data as Uint8Array);
    try {
      check("write");
    } catch (error) {
      await write(bytes.subarray(0, bytes.length / 2));
      throw error;
    }
    await write(bytes, options);
  };
  return file;
}
