/**
 * Programs of the pinned Debian packages, run on this host through their own dynamic
 * loader: the same mksquashfs and depmod everywhere, whatever the host's distribution.
 */
import { execFile } from "node:child_process";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { run, type RunResult } from "@dstack/process";
import { debPath } from "./fetch-packages.ts";
import { hashOf } from "./inputs.ts";
import type { PinnedPackage } from "./package-lock.ts";

export interface Tools {
  readonly root: string;
  run(
    program: string,
    args: readonly string[],
    options?: { timeoutMs?: number; onOutput?: (text: string) => void },
  ): Promise<RunResult>;
  /** Standard output as bytes, at most 256 MiB. */
  output(program: string, args: readonly string[]): Promise<Uint8Array>;
}

/** Unpacks the `tools` group once per set of pins. */
export async function openTools(cacheDir: string, pins: readonly PinnedPackage[]): Promise<Tools> {
  const group = pins.filter((pin) => pin.group === "tools");
  const root = join(cacheDir, "unpacked", `tools-${hashOf(group.map((pin) => pin.sha256).join("\n")).slice(0, 16)}`);
  await unpackOnce(cacheDir, group, root);
  const libraries = join(root, "usr/lib/x86_64-linux-gnu");
  const loader = join(libraries, "ld-linux-x86-64.so.2");
  const command = (program: string, args: readonly string[]): string[] => [
    "--library-path",
    libraries,
    "--argv0",
    program,
    join(root, programPath(program)),
    ...args,
  ];
  const env = { PATH: "/usr/bin:/bin", LC_ALL: "C" };
  return {
    root,
    run: (program, args, options = {}) => run(loader, command(program, args), { env, ...options }),
    output: async (program, args) =>
      (
        await execFileBytes(loader, command(program, args), {
          env,
          encoding: "buffer",
          maxBuffer: 256 * 1024 * 1024,
          timeout: 60_000,
        })
      ).stdout,
  };
}

const execFileBytes = promisify(execFile);

function programPath(program: string): string {
  return program === "depmod" ? "usr/bin/kmod" : `usr/bin/${program}`;
}

/** Unpacks packages into `root` (no maintainer scripts); a folder of that name is always complete. */
export async function unpackOnce(
  cacheDir: string,
  pins: readonly PinnedPackage[],
  root: string,
  after: (temporary: string) => Promise<void> = async () => undefined,
): Promise<void> {
  if (await isDirectory(root)) return;
  const temporary = `${root}.tmp`;
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  for (const pin of baseFilesFirst(pins))
    await run("dpkg-deb", ["-x", debPath(cacheDir, pin), temporary], { timeoutMs: 5 * 60_000 });
  await after(temporary);
  await rename(temporary, root);
}

/** base-files carries the links /bin -> usr/bin and so on, which must exist before anything is unpacked through them. */
function baseFilesFirst(pins: readonly PinnedPackage[]): PinnedPackage[] {
  const rank = (pin: PinnedPackage): string => (pin.name === "base-files" ? "0" : `1${pin.name}`);
  return [...pins].sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
