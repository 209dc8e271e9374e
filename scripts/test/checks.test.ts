import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

interface Checks {
  checkPlatform(machine?: { platform: string; arch: string }): void;
  checkRoot(command: string, uid: number): void;
  checkDisk(context: { cacheDir: string }, statfs: () => { bavail: number; bsize: number }): void;
  checkMemory(meminfo: string): void;
  checkTestMachine(exists: (path: string) => boolean, works: (command: string, args: string[]) => boolean): void;
}

const checks = (await import(new URL("../bootstrap/checks.mjs", import.meta.url).href)) as Checks;
const { completeLockfile } = (await import(new URL("../complete-lockfile.mjs", import.meta.url).href)) as {
  completeLockfile(lock: { packages: Record<string, unknown> }): string[];
};
const GIB = 2 ** 30;

describe("the bootstrap's checks", () => {
  test("refuse what is not Linux on x86-64", () => {
    assert.throws(() => checks.checkPlatform({ platform: "darwin", arch: "arm64" }), /this is darwin on arm64/);
    checks.checkPlatform({ platform: "linux", arch: "x64" });
  });

  test("refuse users other than root with the command to use", () => {
    assert.throws(
      () => checks.checkRoot("npm start", 1000),
      (error: Error & { mend?: string }) => error.mend === "sudo -E npm start",
    );
    checks.checkRoot("npm start", 0);
  });

  test("refuse to test where devices, mounts or namespaces are missing, and name each", () => {
    checks.checkTestMachine(
      () => true,
      () => true,
    );
    assert.throws(
      () =>
        checks.checkTestMachine(
          (path) => path !== "/dev/fuse",
          (_command, args) => args[0] !== "-n",
        ),
      /this machine has no \/dev\/fuse, lets nobody make a network namespace; the tests need it/,
    );
    assert.throws(
      () =>
        checks.checkTestMachine(
          () => true,
          (_command, args) => !args.includes("mount"),
        ),
      /lets nobody mount a file system/,
    );
  });

  test("want 8 GiB for the first image and 2 GiB once one is cached", () => {
    const cacheDir = mkdtempSync(join(tmpdir(), "dstack-checks-"));
    try {
      const free = (gib: number) => () => ({ bavail: (gib * GIB) / 4096, bsize: 4096 });
      assert.throws(
        () => checks.checkDisk({ cacheDir }, free(7.5)),
        /7\.5 GiB are free on the disk of .*, 8 GiB are needed/,
      );
      checks.checkDisk({ cacheDir }, free(8));
      mkdirSync(join(cacheDir, "images", "dstack-sim-0.6.0"), { recursive: true });
      assert.throws(
        () => checks.checkDisk({ cacheDir }, free(7.5)),
        /8 GiB are needed/,
        "an image without its digest is half built",
      );
      writeFileSync(join(cacheDir, "images", "dstack-sim-0.6.0", "digest.txt"), "");
      checks.checkDisk({ cacheDir }, free(7.5));
      assert.throws(() => checks.checkDisk({ cacheDir }, free(1)), /2 GiB are needed/);
    } finally {
      rmSync(cacheDir, { recursive: true });
    }
  });

  test("refuse too little available memory", () => {
    const meminfo = (gib: number) => `MemTotal: 99999999 kB\nMemAvailable:   ${(gib * GIB) / 1024} kB\n`;
    assert.throws(() => checks.checkMemory(meminfo(3)), /3\.0 GiB of memory are available, 4 GiB are needed/);
    checks.checkMemory(meminfo(4));
  });
});

describe("completing the lockfile", () => {
  test("adds the optional packages of other platforms and leaves a complete one alone", () => {
    const lock = {
      packages: {
        "": {},
        "node_modules/tool": {
          version: "2.0.0",
          dev: true,
          optionalDependencies: {
            "@tool/linux-x64": "2.0.0",
            "@tool/win32-arm64": "2.0.0",
            "@tool/linux-x64-musl": "2.0.0",
          },
        },
        "node_modules/@tool/linux-x64": { version: "2.0.0" },
      },
    };
    assert.deepEqual(completeLockfile(lock), ["@tool/win32-arm64", "@tool/linux-x64-musl"]);
    assert.deepEqual((lock.packages as Record<string, unknown>)["node_modules/@tool/win32-arm64"], {
      version: "2.0.0",
      cpu: ["arm64"],
      os: ["win32"],
      dev: true,
      optional: true,
    });
    assert.deepEqual((lock.packages as Record<string, unknown>)["node_modules/@tool/linux-x64-musl"], {
      version: "2.0.0",
      cpu: ["x64"],
      libc: ["musl"],
      os: ["linux"],
      dev: true,
      optional: true,
    });
    assert.deepEqual(completeLockfile(lock), []);
  });

  test("refuses to invent a package that this machine would install", () => {
    const lock = {
      packages: { "node_modules/tool": { version: "2.0.0", optionalDependencies: { "@tool/linux-x64": "2.0.0" } } },
    };
    assert.throws(() => completeLockfile(lock), /@tool\/linux-x64@2\.0\.0 of node_modules\/tool is missing/);
  });
});
