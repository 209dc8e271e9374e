import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./failure.mjs";
import { findProgram, run, tail } from "./run.mjs";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * The base URL of a Debian mirror: DSTACK_DEBIAN_MIRROR, else the one in the host's own apt
 * sources (asked from apt itself, which reads both forms of source files; nothing is fetched).
 *
 * @param {import("./context.mjs").Context} context
 * @returns {Promise<string>}
 */
export async function debianMirror(context) {
  const chosen = context.env.DSTACK_DEBIAN_MIRROR;
  if (chosen) return chosen.replace(/\/+$/, "");
  const empty = join(context.cacheDir, "apt", "no-lists");
  mkdirSync(join(empty, "partial"), { recursive: true });
  const { stdout } = await run(context, aptGet(context), [
    "-o",
    `Dir::State::lists=${empty}`,
    "update",
    "--print-uris",
  ]);
  const codename = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(osRelease())?.[1];
  const isDebian = /^ID="?debian"?$/m.test(osRelease());
  for (const [, base, suite] of stdout.matchAll(/^'(https?:\/\/[^']+?)\/+dists\/([^/']+)\/InRelease'/gm)) {
    if (isDebian && suite === codename) return base;
  }
  throw new Failure(
    "this machine's apt sources name no Debian mirror, from where QEMU 10 would be taken",
    "install QEMU 10 or newer yourself (qemu-system-x86_64 and qemu-img), or name a mirror: DSTACK_DEBIAN_MIRROR=<base URL> npm start",
  );
}

/**
 * Takes packages and everything they depend on from Debian suites and unpacks them into a folder.
 * apt runs with sources, lists, status and cache of our own, so that neither the host's packages
 * nor its sources play a part or are changed; signatures and hashes are checked by apt.
 *
 * @param {import("./context.mjs").Context} context
 * @param {{folder: string, mirror: string, suites: string[], packages: string[], leaveOut?: string[], label: string}} what
 *   `suites`: the last one is preferred; `leaveOut`: packages of the closure not to unpack
 * @returns {Promise<string[]>} file names of the unpacked packages, sorted
 */
export async function unpackClosure(context, { folder, mirror, suites, packages, leaveOut = [], label }) {
  if (!existsSync(KEYRING)) {
    throw new Failure(`Debian's archive keys (${KEYRING}) are missing`, "apt-get install debian-archive-keyring");
  }
  const apt = join(folder, ".apt");
  const archives = join(apt, "archives");
  mkdirSync(join(apt, "lists", "partial"), { recursive: true });
  mkdirSync(join(archives, "partial"), { recursive: true });
  mkdirSync(join(apt, "empty"));
  writeFileSync(join(apt, "status"), "");
  writeFileSync(
    join(apt, "sources.list"),
    suites.map((suite) => `deb [signed-by=${KEYRING} arch=amd64] ${mirror} ${suite} main\n`).join(""),
  );
  const options = {
    "Dir::State::lists": join(apt, "lists"),
    "Dir::State::status": join(apt, "status"),
    "Dir::State::extended_states": join(apt, "extended_states"),
    "Dir::Cache": apt,
    "Dir::Cache::archives": archives,
    "Dir::Etc::sourcelist": join(apt, "sources.list"),
    "Dir::Etc::sourceparts": join(apt, "empty"),
    "Dir::Etc::preferences": join(apt, "none"),
    "Dir::Etc::preferencesparts": join(apt, "empty"),
    "APT::Default-Release": suites.at(-1),
    "APT::Architecture": "amd64",
    "APT::Architectures": "amd64",
    "APT::Sandbox::User": "root",
    "APT::Update::Error-Mode": "any",
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
  };
  const flags = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const steps = [
    { args: ["-q", "update"], timeoutMs: 300_000 },
    { args: ["-q", "-y", "--no-install-recommends", "--download-only", "install", ...packages], timeoutMs: 900_000 },
  ];
  for (const { args, timeoutMs } of steps) {
    const { code, stdout, stderr } = await run(context, aptGet(context), [...flags, ...args], { timeoutMs, label });
    if (code !== 0) {
      throw new Failure(
        `${packages.join(" and ")} could not be taken from ${new URL(mirror).host} (${suites.join(", ")}):\n${tail(stderr || stdout)}`,
        "check the network (or name another mirror in DSTACK_DEBIAN_MIRROR) and run the same command again",
      );
    }
  }
  const debs = readdirSync(archives)
    .filter((name) => name.endsWith(".deb") && !leaveOut.includes(name.slice(0, name.indexOf("_"))))
    .sort();
  for (const deb of debs) {
    const { code, stderr } = await run(context, "dpkg-deb", ["-x", join(archives, deb), folder]);
    if (code !== 0)
      throw new Failure(
        `${deb} could not be unpacked into ${folder}:\n${tail(stderr)}`,
        "df -h   # is the disk full? make room and run the same command again",
      );
  }
  return debs;
}

/** The path of apt-get; a machine without it gets told. */
export function aptGet(/** @type {import("./context.mjs").Context} */ context) {
  const path = findProgram(context, "apt-get");
  if (path !== undefined) return path;
  throw new Failure(
    "there is no apt-get on this machine, and programs are missing that it would install",
    "run on Debian 12 or newer (or Ubuntu), or install QEMU 10 or newer and the programs of scripts/debian-packages.json yourself",
  );
}

function osRelease() {
  return existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
}
