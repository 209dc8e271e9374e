/**
 * The root file system as a folder. Unpacked packages are kept in the cache (one folder per
 * set of pins) and hard-linked into each build; maintainer scripts never run, what they
 * would have done and the guest needs is done here, in the same order every time.
 */
import { chmod, copyFile, cp, lstat, mkdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "@dstack/process";
import { ImageError } from "../errors.ts";
import { neededLibraries } from "./elf.ts";
import { filesBelow, hashOf, walk } from "./inputs.ts";
import type { KernelModule } from "./kernel-modules.ts";
import type { PinnedPackage } from "./package-lock.ts";
import { pruneTree } from "./prune.ts";
import type { Flavour, Recipe } from "./recipe.ts";
import { unpackOnce, type Tools } from "./tools.ts";

/** Small programs that Debian spreads over packages we leave out; linked to busybox where no real one is there. */
const BUSYBOX_LINKS = [
  "awk",
  "clear",
  "free",
  "hexdump",
  "hostname",
  "less",
  "nc",
  "netstat",
  "nslookup",
  "ping",
  "ps",
  "top",
  "traceroute",
  "udhcpc",
  "unzip",
  "uptime",
  "vi",
  "wget",
  "which",
  "xxd",
];
const IPTABLES_LINKS = [
  "iptables",
  "iptables-save",
  "iptables-restore",
  "ip6tables",
  "ip6tables-save",
  "ip6tables-restore",
];
const DIRECTORIES = [
  "dev",
  "dstack",
  "etc/dstack/boot.d",
  "etc/wireguard",
  "home",
  "proc",
  "root",
  "run",
  "sys",
  "tmp",
  "usr/lib/dstack/init",
  "var/cache",
  "var/lib/containerd",
  "var/lib/docker",
  "var/volatile",
];

export interface StageOptions {
  readonly cacheDir: string;
  readonly repoRoot: string;
  readonly recipe: Recipe;
  readonly pins: readonly PinnedPackage[];
  readonly flavour: Flavour;
  readonly version: string;
  readonly tools: Tools;
  readonly kernelRelease: string;
  readonly modulesBuiltin: string;
  readonly modules: readonly KernelModule[];
  /** Path of the node binary for the guest. */
  readonly nodeBinary: string;
  /** Bundles by file name under /usr/lib/dstack. */
  readonly bundles: ReadonlyMap<string, Uint8Array>;
}

/** Unpacked and pruned packages; shared by all flavours, never written to after it is made. */
export async function unpackBase(cacheDir: string, recipe: Recipe, pins: readonly PinnedPackage[]): Promise<string> {
  const group = pins.filter((pin) => pin.group === "rootfs");
  const key = hashOf([...group.map((pin) => pin.sha256), ...recipe.prune, BASE_FORM].join("\n")).slice(0, 16);
  const root = join(cacheDir, "unpacked", `rootfs-${key}`);
  await unpackOnce(cacheDir, group, root, async (temporary) => {
    await writeCaBundle(temporary);
    await pruneTree(temporary, recipe.prune);
    await configureBase(temporary);
  });
  return root;
}

/** Changes when `configureBase` does, so that an old unpacked folder is not taken for a new one. */
const BASE_FORM = "4";

/** Fills `into` (which must not exist) with the root file system of one flavour. */
export async function stageRootfs(options: StageOptions, into: string): Promise<void> {
  const { recipe, repoRoot, flavour } = options;
  const base = await unpackBase(options.cacheDir, recipe, options.pins);
  await run("cp", ["-al", base, into], { timeoutMs: 5 * 60_000 });
  const overlay = recipe.flavours[flavour].overlay;
  await copyTree(join(recipe.dir, "rootfs"), into);
  if (overlay !== undefined) await copyTree(join(recipe.dir, overlay), into);
  for (const name of ["start-guest", "udhcpc"])
    await place(
      into,
      `usr/lib/dstack/init/${name}`,
      await readFile(join(repoRoot, "services/guest/init", name)),
      0o755,
    );
  await place(into, "usr/sbin/init", await readFile(join(repoRoot, "services/guest/init/init")), 0o755);
  await place(into, "etc/os-release", Buffer.from(osRelease(options)), 0o644);
  await place(
    into,
    "etc/dstack-image.json",
    Buffer.from(`${JSON.stringify({ version: options.version, flavour, is_dev: recipe.flavours[flavour].isDev })}\n`),
    0o644,
  );
  for (const [name, bytes] of options.bundles) await place(into, `usr/lib/dstack/${name}`, bytes, 0o644);
  await rm(join(into, "usr/bin/node"), { force: true });
  await copyFile(options.nodeBinary, join(into, "usr/bin/node"));
  await chmod(join(into, "usr/bin/node"), 0o755);
  for (const library of neededLibraries(await readFile(options.nodeBinary))) {
    if (!(await exists(join(into, "usr/lib/x86_64-linux-gnu", library))))
      throw new ImageError(
        "bad-recipe",
        `the guest's node needs ${library}, which no package of image/packages.json brings`,
      );
  }
  await placeModules(options, into);
}

async function placeModules(options: StageOptions, into: string): Promise<void> {
  const dir = `usr/lib/modules/${options.kernelRelease}`;
  for (const module of options.modules) await place(into, `${dir}/${module.path}`, module.bytes, 0o644);
  await place(into, `${dir}/modules.builtin`, Buffer.from(options.modulesBuiltin), 0o644);
  await place(
    into,
    `${dir}/modules.order`,
    Buffer.from(options.modules.map((module) => `${module.path}\n`).join("")),
    0o644,
  );
  await options.tools.run("depmod", [
    "--basedir",
    join(into, "usr"),
    "--moduledir",
    "/lib/modules",
    options.kernelRelease,
  ]);
}

function osRelease({ flavour, version }: StageOptions): string {
  return [
    `ID=dstack`,
    `NAME="dstack"`,
    `PRETTY_NAME="dstack ${version} (${flavour})"`,
    `VERSION_ID=${version}`,
    `DSTACK_FLAVOUR=${flavour}`,
    "",
  ].join("\n");
}

/** What ca-certificates' maintainer script makes: all certificates of the package in one file. */
async function writeCaBundle(root: string): Promise<void> {
  const parts: Uint8Array[] = [];
  for (const file of await filesBelow(join(root, "usr/share/ca-certificates")))
    if (file.endsWith(".crt")) parts.push(await readFile(file));
  await place(root, "etc/ssl/certs/ca-certificates.crt", Buffer.concat(parts), 0o644);
}

async function configureBase(root: string): Promise<void> {
  for (const path of DIRECTORIES) await directory(root, path);
  // Everything in the guest runs as root or in a container; no program may lend root to another.
  for (const { path, kind } of await walk(root))
    if (kind === "file") await chmod(path, (await lstat(path)).mode & 0o1777);
  await chmod(join(root, "tmp"), 0o1777);
  await chmod(join(root, "root"), 0o700);
  await place(root, "etc/passwd", await readFile(join(root, "usr/share/base-passwd/passwd.master")), 0o644);
  await place(root, "etc/group", await readFile(join(root, "usr/share/base-passwd/group.master")), 0o644);
  await place(root, "etc/resolv.conf", new Uint8Array(), 0o644);
  await link(root, "etc/mtab", "../proc/self/mounts");
  await link(root, "var/run", "../run");
  await link(root, "var/lock", "../run/lock");
  for (const name of IPTABLES_LINKS) await link(root, `usr/sbin/${name}`, "xtables-nft-multi");
  for (const name of BUSYBOX_LINKS)
    if (!(await exists(join(root, "usr/bin", name))) && !(await exists(join(root, "usr/sbin", name))))
      await link(root, `usr/bin/${name}`, "busybox");
}

async function copyTree(from: string, into: string): Promise<void> {
  for (const file of await filesBelow(from)) {
    const path = file.slice(from.length + 1);
    await rm(join(into, path), { force: true });
    await directory(into, dirname(path));
    await cp(file, join(into, path));
    await chmod(join(into, path), ((await lstat(file)).mode & 0o111) === 0 ? 0o644 : 0o755);
  }
}

/** Makes a folder and its parents with mode 0755, whatever the umask. Existing ones keep theirs. */
async function directory(root: string, path: string): Promise<void> {
  let at = root;
  for (const part of path.split("/")) {
    at = join(at, part);
    if (await exists(at)) continue;
    await mkdir(at);
    await chmod(at, 0o755);
  }
}

/** Writes a new file, never through a hard link into the cache. */
async function place(root: string, path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const target = join(root, path);
  await directory(root, dirname(path));
  await rm(target, { force: true });
  await writeFile(target, bytes);
  await chmod(target, mode);
}

async function link(root: string, path: string, target: string): Promise<void> {
  await rm(join(root, path), { recursive: true, force: true });
  await symlink(target, join(root, path));
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** One line per entry of a tree: type, permission bits, SHA-256 or link target, path. Sorted. */
export async function treeManifest(root: string): Promise<string[]> {
  const lines: string[] = [];
  for (const { path, kind } of await walk(root)) {
    const mode = ((await lstat(path)).mode & 0o7777).toString(8).padStart(4, "0");
    const name = path.slice(root.length + 1);
    if (kind === "link") lines.push(`${name} link ${await readlink(path)}`);
    else if (kind === "file") lines.push(`${name} file ${mode} ${hashOf(await readFile(path))}`);
    else lines.push(`${name} ${kind} ${mode}`);
  }
  return lines.sort();
}
