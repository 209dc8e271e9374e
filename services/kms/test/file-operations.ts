/** Counts the operations that change a disk, so that a test can end or fail the process at each of them. */
import { syncBuiltinESMExports } from "node:module";
import fs from "node:fs/promises";

type Call = (this: unknown, ...parameters: unknown[]) => Promise<unknown>;
/** Called before each operation; what it throws is the operation's error. */
export type Observer = (operation: string) => void;

const CHANGING = [
  "rename",
  "link",
  "unlink",
  "rm",
  "rmdir",
  "mkdir",
  "writeFile",
  "copyFile",
  "truncate",
  "symlink",
  "chmod",
  "utimes",
] as const;

/**
 * Lets `observe` see every operation on paths and open files. A write counts twice: before its
 * first byte, and with half of it on the disk.
 */
export async function observeFileOperations(observe: Observer): Promise<void> {
  const module = fs as unknown as Record<string, Call>;
  for (const name of CHANGING) patch(module, name, (path) => observe(`${name} ${String(path)}`));
  const open = module["open"]!;
  patch(module, "open", (path, flags) => {
    if (flags !== undefined && flags !== "r") observe(`open ${String(path)}`);
  });
  syncBuiltinESMExports();

  const sample = (await open.call(fs, process.execPath, "r")) as { close(): Promise<void> };
  const prototype = Object.getPrototypeOf(sample) as Record<string, Call>;
  await sample.close();
  patch(prototype, "sync", () => observe("sync"));
  patch(prototype, "datasync", () => observe("datasync"));
  const write = prototype["write"]!;
  const writeFile = prototype["writeFile"]!;
  prototype["writeFile"] = async function (data, ...more) {
    observe("write");
    const bytes = Buffer.from(data as Uint8Array);
    const half = bytes.length >> 1;
    await write.call(this, bytes.subarray(0, half));
    observe("write half");
    return writeFile.call(this, bytes.subarray(half), ...more);
  };
}

function patch(target: Record<string, Call>, name: string, before: (...parameters: unknown[]) => void): void {
  const original = target[name]!;
  target[name] = async function (...parameters) {
    before(...parameters);
    return original.apply(this, parameters);
  };
}
