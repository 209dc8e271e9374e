import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { aptGet, debianMirror, unpackClosure } from "./apt-folder.mjs";
import { installPackages } from "./debian.mjs";
import { Failure } from "./failure.mjs";
import { publishFolder, publishLink } from "./publish.mjs";
import { findProgram, run, tail } from "./run.mjs";

const PROGRAMS = ["qemu-system-x86_64", "qemu-img"];
const PACKAGES = ["qemu-system-x86", "qemu-utils"];
// QEMU 7.2 under TCG corrupts guests now and then (double faults in one boot of ten).
const OLDEST_MAJOR = 10;

/** The folder with qemu-system-x86_64 and qemu-img, a stable path: `<cache>/qemu/current/bin`. */
export function qemuFolder(/** @type {import("./context.mjs").Context} */ context) {
  return join(context.cacheDir, "qemu", "current", "bin");
}

/** Is a QEMU that starts and is new enough in place? Its version, else undefined. */
export function qemuInPlace(/** @type {import("./context.mjs").Context} */ context) {
  return versionOfBoth(
    context,
    PROGRAMS.map((name) => join(qemuFolder(context), name)),
  );
}

/**
 * Puts QEMU in place: the host's own where it is new enough (installed where its release has it),
 * else bookworm-backports' packages with all libraries but libc, unpacked into the cache. The
 * caller holds the lock.
 *
 * @param {import("./context.mjs").Context} context
 */
export async function installQemu(context) {
  const folder = join(context.cacheDir, "qemu");
  mkdirSync(folder, { recursive: true });
  if ((await hostQemu(context)) === undefined && (await releaseHasQemu(context))) {
    await installPackages(
      context,
      PACKAGES.map((name) => ({ package: name, why: "runs the virtual machines" })),
    );
  }
  const own = await hostQemu(context);
  if (own !== undefined) {
    const name = await publishFolder(folder, async (fresh) => {
      mkdirSync(join(fresh, "bin"));
      for (const path of own.paths) symlinkSync(path, join(fresh, "bin", basename(path)));
      return `host-${own.version}`;
    });
    publishLink(name, join(folder, "current"));
    context.say(`QEMU ${own.version} of this machine`);
    return;
  }
  aptGet(context);
  const mirror = await debianMirror(context);
  context.say(`fetching QEMU from bookworm-backports (about 40 MB) into ${folder}`);
  const name = await publishFolder(folder, async (fresh) => {
    const debs = await unpackClosure(context, {
      folder: fresh,
      mirror,
      suites: ["bookworm", "bookworm-backports"],
      packages: PACKAGES,
      // libc goes with the dynamic loader, and that is the host's.
      leaveOut: ["libc6"],
      label: "fetching QEMU",
    });
    rmSync(join(fresh, ".apt"), { recursive: true });
    writeFileSync(join(fresh, "packages.txt"), debs.map((deb) => `${deb}\n`).join(""));
    mkdirSync(join(fresh, "bin"));
    for (const program of PROGRAMS) writeWrapper(fresh, program);
    const version = await versionOfBoth(
      context,
      PROGRAMS.map((program) => join(fresh, "bin", program)),
    );
    if (version === undefined) {
      const { stderr } = await run(context, join(fresh, "bin", PROGRAMS[0]), ["--version"]);
      throw new Failure(
        `the QEMU of bookworm-backports does not run on this machine:\n${tail(stderr)}`,
        "install QEMU 10 or newer from your distribution (Debian 13 and newer have it), then run the same command again",
      );
    }
    return `${version}-${createHash("sha256").update(debs.join("\n")).digest("hex").slice(0, 12)}`;
  });
  publishLink(name, join(folder, "current"));
  context.say(`QEMU ${name.split("-")[0]} unpacked`);
}

async function releaseHasQemu(context) {
  if (findProgram(context, "apt-cache") === undefined) return false;
  const { stdout } = await run(context, "apt-cache", ["policy", PACKAGES[0]], { env: { ...context.env, LC_ALL: "C" } });
  const candidate = /^ {2}Candidate: (?:\d+:)?(\d+)\./m.exec(stdout)?.[1];
  return candidate !== undefined && Number(candidate) >= OLDEST_MAJOR;
}

async function hostQemu(context) {
  const paths = PROGRAMS.map((name) => findProgram(context, name));
  if (paths.includes(undefined)) return undefined;
  const version = await versionOfBoth(context, paths);
  return version === undefined ? undefined : { paths, version };
}

async function versionOfBoth(context, paths) {
  let version;
  for (const path of paths) {
    if (!existsSync(path)) return undefined;
    const { code, stdout } = await run(context, path, ["--version"]);
    version = /version (\d+)\.\d+\.\d+/.exec(stdout);
    if (code !== 0 || version === null || Number(version[1]) < OLDEST_MAJOR) return undefined;
  }
  return version[0].slice("version ".length);
}

// The wrapper works wherever the cache folder is moved to. Firmware paths are compiled in, so they
// are given again; modules (the TCG accelerator is one) have an environment variable.
function writeWrapper(folder, program) {
  const path = join(folder, "bin", program);
  const firmware =
    program === "qemu-img"
      ? ""
      : ' -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu"';
  writeFileSync(
    path,
    `#!/bin/sh
root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu"
QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"
export LD_LIBRARY_PATH QEMU_MODULE_DIR
exec "$root/usr/bin/${program}"${firmware} "$@"
`,
  );
  chmodSync(path, 0o755);
}
