/**
 * Kernel modules: which are needed, what they need in turn, in which order they load.
 * Dependencies are read from each module's `.modinfo` section (`depends=a,b`), the same
 * place that depmod takes its soft names from; the order is a plain depth-first walk.
 */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { ImageError } from "../errors.ts";
import { filesBelow } from "./inputs.ts";
import type { Tools } from "./tools.ts";

export interface KernelModule {
  /** With underscores, as the kernel spells it. */
  readonly name: string;
  /** Below lib/modules/<release>/, without compression suffix: `kernel/fs/9p/9p.ko`. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly depends: readonly string[];
}

export interface ModuleTree {
  readonly release: string;
  /** The wanted modules and all they depend on, each after what it needs. */
  closure(wanted: readonly string[]): Promise<KernelModule[]>;
}

/** `modulesDir` is an unpacked lib/modules/<release>. */
export async function readModuleTree(modulesDir: string, tools: Tools): Promise<ModuleTree> {
  const paths = new Map<string, string>();
  for (const file of await filesBelow(join(modulesDir, "kernel"))) {
    const match = /\/([^/]+)\.ko(?:\.xz)?$/.exec(file);
    if (match?.[1] !== undefined) paths.set(kernelName(match[1]), file);
  }
  const builtin = new Set(
    (await readFile(join(modulesDir, "modules.builtin"), "utf8"))
      .split("\n")
      .map((line) => kernelName(basename(line, ".ko"))),
  );
  const loaded = new Map<string, KernelModule>();
  const load = async (name: string, neededBy: string): Promise<KernelModule | undefined> => {
    const known = loaded.get(name);
    if (known !== undefined) return known;
    const file = paths.get(name);
    if (file === undefined) {
      if (builtin.has(name)) return undefined;
      throw new ImageError(
        "bad-recipe",
        `kernel module ${name} (needed by ${neededBy}) is neither in the kernel package nor built in; correct image/kernel-modules.json`,
      );
    }
    const bytes = file.endsWith(".xz") ? await unxz(file, tools) : new Uint8Array(await readFile(file));
    const module = {
      name,
      path: file.slice(modulesDir.length + 1).replace(/\.xz$/, ""),
      bytes,
      depends: moduleDepends(bytes),
    };
    loaded.set(name, module);
    return module;
  };
  const closure = async (wanted: readonly string[]): Promise<KernelModule[]> => {
    const ordered: KernelModule[] = [];
    const done = new Set<string>();
    const visit = async (name: string, neededBy: string): Promise<void> => {
      if (done.has(name)) return;
      done.add(name);
      const module = await load(name, neededBy);
      if (module === undefined) return;
      for (const dependency of module.depends) await visit(dependency, name);
      ordered.push(module);
    };
    for (const name of wanted) await visit(kernelName(name), "image/kernel-modules.json");
    return ordered;
  };
  return { release: basename(modulesDir), closure };
}

/** The `depends=` entry of a module's modinfo; names with underscores. */
export function moduleDepends(bytes: Uint8Array): string[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = text.indexOf("\0depends=");
  if (start < 0) return [];
  const end = text.indexOf(0, start + 1);
  const list = text.subarray(start + "\0depends=".length, end).toString("latin1");
  return list === "" ? [] : list.split(",").map(kernelName);
}

const kernelName = (name: string): string => name.replaceAll("-", "_");

async function unxz(file: string, tools: Tools): Promise<Uint8Array> {
  return tools.output("xz", ["--decompress", "--stdout", file]);
}
