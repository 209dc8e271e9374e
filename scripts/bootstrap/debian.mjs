import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { aptGet } from "./apt-folder.mjs";
import { Failure } from "./failure.mjs";
import { publishFolder } from "./publish.mjs";
import { findProgram, run, tail } from "./run.mjs";

const LOCK_WAIT_SECONDS = 600;
const NO_NETWORK =
  /Failed to fetch|Could not resolve|Temporary failure|Could not connect|Cannot initiate|Unable to connect|Connection (?:failed|timed out)/;

/**
 * @typedef {{package: string, program: string, why: string}} Needed
 * @typedef {{missing: Needed[], unpack: Needed[]}} DebianNeeds
 */

/**
 * Which packages of scripts/debian-packages.json this machine lacks for a job.
 *
 * @param {import("./context.mjs").Context} context
 * @param {("start" | "test")[]} jobs
 * @returns {Promise<DebianNeeds>}
 */
export async function missingPackages(context, jobs) {
  const list = JSON.parse(readFileSync(join(context.root, "scripts", "debian-packages.json"), "utf8"));
  const needed = jobs.flatMap((job) => list[job]);
  const installed = await installedPackages(
    context,
    needed.map((entry) => entry.package),
  );
  return {
    // A program of the user's own is as good; a package that dpkg calls half-installed is not.
    missing: needed.filter(({ package: name, program }) =>
      (installed.get(name) ?? "absent") === "absent"
        ? findProgram(context, program) === undefined
        : installed.get(name) !== "installed",
    ),
    unpack: list.unpacked.filter(({ program }) => !existsSync(join(toolsFolder(context), program))),
  };
}

/** Folder of the programs that were unpacked rather than installed; it goes on the children's PATH. */
export function toolsFolder(/** @type {import("./context.mjs").Context} */ context) {
  return join(context.cacheDir, "tools", "bin");
}

/**
 * Installs packages with apt-get from the machine's own sources, after saying which and why.
 *
 * @param {import("./context.mjs").Context} context
 * @param {Pick<Needed, "package" | "why">[]} missing
 */
export async function installPackages(context, missing) {
  const apt = aptGet(context);
  context.say("these Debian packages are missing and will be installed:");
  for (const { package: name, why } of missing) context.say(`  ${name.padEnd(18)} ${why}`);
  const updateLog = await aptUpdate(context, apt);
  const names = missing.map((entry) => entry.package);
  await aptRun(context, apt, ["-y", "--no-install-recommends", "install", ...names], updateLog, {
    label: "apt-get install",
    mustFinish: true,
    timeoutMs: 1_800_000,
  });
}

/**
 * Takes single programs out of Debian packages without installing these.
 *
 * @param {import("./context.mjs").Context} context
 * @param {Needed[]} wanted
 */
export async function unpackPackages(context, wanted) {
  const apt = aptGet(context);
  let updateLog = "";
  for (const { package: name, program, why } of wanted) {
    context.say(`unpacking ${name} into ${join(context.cacheDir, "tools")} (${why})`);
    const download = (folder) =>
      run(context, apt, ["-q", "-o", "APT::Sandbox::User=root", "download", name], {
        cwd: folder,
        timeoutMs: 300_000,
        label: `fetching ${name}`,
      });
    await publishFolder(join(context.cacheDir, "tools"), async (fresh) => {
      let result = await download(fresh);
      if (result.code !== 0) {
        updateLog = await aptUpdate(context, apt);
        result = await download(fresh);
      }
      if (result.code !== 0) throw aptFailure(`apt-get download ${name}`, result, updateLog);
      const deb = readdirSync(fresh).find((file) => file.endsWith(".deb"));
      if (deb === undefined)
        throw new Failure(`apt-get download ${name} left no package`, `apt-get download ${name}   # what does it say?`);
      const { code, stderr } = await run(context, "dpkg-deb", ["-x", join(fresh, deb), join(fresh, "root")]);
      if (code !== 0)
        throw new Failure(
          `${deb} could not be unpacked:\n${tail(stderr)}`,
          "df -h   # is the disk full? make room and run the same command again",
        );
      rmSync(join(fresh, deb));
      return name;
    });
    mkdirSync(toolsFolder(context), { recursive: true });
    const link = join(toolsFolder(context), program);
    rmSync(link, { force: true });
    symlinkSync(join("..", name, "root", "usr", "bin", program), link);
  }
}

async function aptUpdate(context, apt) {
  context.say("apt-get update");
  const deadline = Date.now() + LOCK_WAIT_SECONDS * 1000;
  for (let said = false; ; said = true) {
    const result = await run(context, apt, ["-q", "update"], { timeoutMs: 600_000, label: "apt-get update" });
    const log = result.stdout + result.stderr;
    const locked = /Could not get lock \S+(?:\. It is held by process \d+ \([^)]*\))?/.exec(log);
    // A source of the user's that we don't need may be broken; what we do need shows at install time.
    if (locked === null) return log;
    if (Date.now() > deadline) throw aptFailure("apt-get update", result, "");
    if (!said) context.say(`  waiting for another package manager: ${locked[0]}`);
    await sleep(3000);
  }
}

async function aptRun(context, apt, args, updateLog, options) {
  const env = { ...context.env, DEBIAN_FRONTEND: "noninteractive", NEEDRESTART_SUSPEND: "1", LC_ALL: "C" };
  const flags = [
    "-q",
    "-o",
    `DPkg::Lock::Timeout=${LOCK_WAIT_SECONDS}`,
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
  ];
  let said = false;
  const onLine = (line) => {
    if (said || !line.startsWith("Waiting for cache lock")) return;
    said = true;
    context.say(`  ${line}`);
  };
  const result = await run(context, apt, [...flags, ...args], { ...options, env, onLine });
  if (result.code !== 0) throw aptFailure(`apt-get ${args.find((arg) => !arg.startsWith("-"))}`, result, updateLog);
}

function aptFailure(what, { stdout, stderr }, updateLog) {
  const message = `${what} failed:\n${tail(stderr || stdout)}`;
  const log = `${stdout}\n${stderr}`;
  const again = "then run the same command again";
  if (log.includes("dpkg was interrupted")) return new Failure(message, `dpkg --configure -a   # ${again}`);
  if (log.includes("Could not get lock"))
    return new Failure(message, `wait for the other package manager to end, ${again}`);
  if (/No space left|You don't have enough free space/.test(log))
    return new Failure(message, `df -h   # make room, ${again}`);
  if (NO_NETWORK.test(log) || NO_NETWORK.test(updateLog))
    return new Failure(message, `apt-get update   # when it works without "Failed to fetch", ${again}`);
  if (/unmet dependencies|held broken packages/.test(log))
    return new Failure(message, `apt-get -f install   # ${again}`);
  return new Failure(message, `apt-get update && apt-get install -f   # ${again}`);
}

async function installedPackages(context, names) {
  const result = new Map();
  if (findProgram(context, "dpkg-query") === undefined) return result;
  // Exit code 1 only says that some are unknown.
  const { stdout } = await run(context, "dpkg-query", ["-W", "-f", "${Package} ${db:Status-Status}\\n", ...names]);
  for (const line of stdout.split("\n")) {
    const [name, status] = line.split(" ");
    if (name !== "" && status !== undefined)
      result.set(name, status === "not-installed" || status === "config-files" ? "absent" : status);
  }
  return result;
}
