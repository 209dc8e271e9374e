/** The first root: busybox, dmsetup with its libraries, the modules to reach the disk, and one script. */
import { readFile, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { ImageError } from "../errors.ts";
import { makeCpio, type CpioEntry } from "./cpio.ts";
import type { KernelModule } from "./kernel-modules.ts";
import { neededLibraries } from "./elf.ts";

const APPLETS = ["cat", "dmesg", "echo", "grep", "insmod", "mkdir", "mount", "poweroff", "sh", "sleep", "switch_root"];
const LIBRARIES = "usr/lib/x86_64-linux-gnu";

/** `root` is the unpacked root file system, `modules` in load order. */
export async function makeInitramfs(
  root: string,
  modules: readonly KernelModule[],
  initScript: Uint8Array,
): Promise<Uint8Array> {
  const file = async (path: string, source: string, executable: boolean): Promise<CpioEntry> => ({
    kind: "file",
    path,
    bytes: await readFile(join(root, source)),
    executable,
  });
  const directories = ["bin", "dev", "lib", "lib64", "modules", "proc", "sys"].map((path): CpioEntry => ({
    kind: "directory",
    path,
  }));
  const libraries: CpioEntry[] = [];
  for (const name of await libraryClosure(root, "usr/sbin/dmsetup")) {
    libraries.push({
      kind: "file",
      path: `lib/${name}`,
      bytes: await readFile(await realpath(join(root, LIBRARIES, name))),
      executable: true,
    });
  }
  const entries: CpioEntry[] = [
    ...directories,
    { kind: "character-device", path: "dev/console", major: 5, minor: 1 },
    { kind: "file", path: "init", bytes: initScript, executable: true },
    await file("bin/busybox", "usr/bin/busybox", true),
    ...APPLETS.map((name): CpioEntry => ({ kind: "link", path: `bin/${name}`, target: "busybox" })),
    await file("bin/dmsetup", "usr/sbin/dmsetup", true),
    ...libraries,
    { kind: "link", path: "lib64/ld-linux-x86-64.so.2", target: "../lib/ld-linux-x86-64.so.2" },
    ...modules.map((module): CpioEntry => ({
      kind: "file",
      path: `modules/${basename(module.path)}`,
      bytes: module.bytes,
      executable: false,
    })),
    {
      kind: "file",
      path: "modules/order",
      bytes: Buffer.from(modules.map((module) => `${basename(module.path)}\n`).join("")),
      executable: false,
    },
  ];
  return gzipSync(makeCpio(entries), { level: 6 });
}

/** All shared libraries a program needs, by file name, sorted. */
async function libraryClosure(root: string, program: string): Promise<string[]> {
  const found = new Set<string>();
  const queue = [program];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    for (const name of neededLibraries(await readFile(await realpath(join(root, next))))) {
      if (found.has(name)) continue;
      if (found.size > 64) throw new ImageError("build-failed", `${program} needs more than 64 libraries`);
      found.add(name);
      queue.push(`${LIBRARIES}/${name}`);
    }
  }
  return [...found].sort();
}
