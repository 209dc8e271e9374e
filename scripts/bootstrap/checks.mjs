import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, readlinkSync, statfsSync } from "node:fs";
import { createServer } from "node:net";
import { createSocket } from "node:dgram";
import { join } from "node:path";
import { Failure } from "./failure.mjs";
import { qemuFolder } from "./qemu.mjs";

const GIB = 2 ** 30;
const FIRST_DISK_BYTES = 8 * GIB;
const WARM_DISK_BYTES = 2 * GIB;
const MEMORY_BYTES = 4 * GIB;

/** Refuses other systems than Linux on x86-64. */
export function checkPlatform({ platform = process.platform, arch = process.arch } = {}) {
  if (platform === "linux" && arch === "x64") return;
  throw new Failure(
    `dstack runs on Linux on x86-64, this is ${platform} on ${arch}`,
    "use a Debian 12 machine (amd64); reach its ports with ssh -L",
  );
}

/** Refuses users other than root, with the command to use instead. */
export function checkRoot(/** @type {string} */ command, uid = process.getuid()) {
  if (uid === 0) return;
  throw new Failure(`${command} needs root (network interfaces, packages), this is user ${uid}`, `sudo -E ${command}`);
}

/** Refuses a nearly full disk under the cache folder; a first start needs more than later ones. */
export function checkDisk(/** @type {import("./context.mjs").Context} */ context, statfs = statfsSync) {
  const images = join(context.cacheDir, "images");
  const warm = existsSync(images) && readdirSync(images).some((name) => existsSync(join(images, name, "digest.txt")));
  const needed = warm ? WARM_DISK_BYTES : FIRST_DISK_BYTES;
  const { bavail, bsize } = statfs(context.cacheDir);
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new Failure(
    `${(free / GIB).toFixed(1)} GiB are free on the disk of ${context.cacheDir}, ${needed / GIB} GiB are needed`,
    "make room, or point XDG_CACHE_HOME and XDG_STATE_HOME at a larger disk: XDG_CACHE_HOME=/big/cache XDG_STATE_HOME=/big/state npm start",
  );
}

/** Refuses to start guests in too little memory. */
export function checkMemory(meminfo = readFileSync("/proc/meminfo", "utf8")) {
  const available = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1]) * 1024;
  if (!(available < MEMORY_BYTES)) return;
  throw new Failure(
    `${(available / GIB).toFixed(1)} GiB of memory are available, ${MEMORY_BYTES / GIB} GiB are needed for the demo's guest and services`,
    "ps aux --sort=-rss | head   # end what takes the most, then run the same command again",
  );
}

/** Refuses to test on a machine that lacks what tests mount and build: they would test less than they say. */
export function checkTestMachine(exists = existsSync, works = succeeds) {
  const lacking = [
    ...["/dev/fuse", "/dev/net/tun"].filter((device) => !exists(device)).map((device) => `has no ${device}`),
    ...(works("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]) ? [] : ["lets nobody mount a file system"]),
    ...(works("unshare", ["-n", "true"]) ? [] : ["lets nobody make a network namespace"]),
  ];
  if (lacking.length === 0) return;
  throw new Failure(
    `this machine ${lacking.join(", ")}; the tests need it`,
    "run them in a virtual machine, or in a container started with --privileged --device /dev/fuse --device /dev/net/tun",
  );
}

function succeeds(command, args) {
  return spawnSync(command, args, { stdio: "ignore", timeout: 10_000 }).status === 0;
}

/**
 * Refuses when a port of scripts/demo-ports.json is taken by somebody else; ports of an instance
 * of ours that still runs are left to `dstack up`. DSTACK_PORT_BASE moves them all.
 *
 * @param {import("./context.mjs").Context} context
 */
export async function checkPorts(context) {
  const ports = JSON.parse(readFileSync(join(context.root, "scripts", "demo-ports.json"), "utf8"));
  const base = Number(context.env.DSTACK_PORT_BASE || undefined);
  for (const [index, { port: usual, protocol, what }] of ports.entries()) {
    const port = Number.isNaN(base) ? usual : base + index;
    if (await isFree(port, protocol)) continue;
    const owner = ownerOf(port, protocol);
    if (owner !== undefined && isOurs(context, owner.pid)) continue;
    throw new Failure(
      `port 127.0.0.1:${port}/${protocol} (${what}) is taken${owner ? ` by process ${owner.pid} (${owner.name})` : ""}`,
      owner
        ? `kill ${owner.pid}   # or stop it the way it was started (or DSTACK_PORT_BASE=19000 moves ours), then run the same command again`
        : `ss -lnp sport = :${port}   # shows who has it; stop it and run the same command again`,
    );
  }
}

function isFree(port, protocol) {
  return new Promise((resolve, reject) => {
    const settle = (error) => {
      if (error === undefined) resolve(true);
      else if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    };
    if (protocol === "udp") {
      const socket = createSocket("udp4");
      socket.on("error", settle);
      socket.bind(port, "127.0.0.1", () => socket.close(() => settle(undefined)));
    } else {
      const server = createServer();
      server.on("error", settle);
      server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => settle(undefined)));
    }
  });
}

// /proc/net/tcp: "sl local_address rem_address st ... inode"; a listener's state is 0A, a bound UDP socket's 07.
function ownerOf(port, protocol) {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const inodes = new Set();
  for (const table of [protocol, `${protocol}6`]) {
    if (!existsSync(`/proc/net/${table}`)) continue;
    for (const line of readFileSync(`/proc/net/${table}`, "utf8").split("\n")) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(local) && (fields[3] === "0A" || fields[3] === "07")) inodes.add(`socket:[${fields[9]}]`);
    }
  }
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const holds = quietly(() =>
      readdirSync(`/proc/${pid}/fd`).some((fd) => inodes.has(quietly(() => readlinkSync(`/proc/${pid}/fd/${fd}`)))),
    );
    if (holds)
      return { pid: Number(pid), name: quietly(() => readFileSync(`/proc/${pid}/comm`, "utf8").trim()) ?? "?" };
  }
  return undefined;
}

// Ours: a program out of our cache, or one whose environment (its PATH at least) came from our bootstrap.
function isOurs(context, pid) {
  const exe = quietly(() => readlinkSync(`/proc/${pid}/exe`)) ?? "";
  const environment = quietly(() => readFileSync(`/proc/${pid}/environ`, "latin1")) ?? "";
  return exe.startsWith(`${context.cacheDir}/`) || environment.includes(qemuFolder(context));
}

// A process may end, or be somebody else's, while /proc is read: then it is not the one we look for.
function quietly(read) {
  try {
    return read();
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(error.code)) return undefined;
    throw error;
  }
}
