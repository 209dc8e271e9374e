import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createLogger } from "@dstack/log";
import { ProcessError, run } from "@dstack/process";
import { openDataDisk } from "../src/disk/data-disk.ts";
import { findDataDevice } from "../src/disk/find-data-device.ts";
import type { RunProgram } from "../src/system/run-program.ts";

const log = createLogger({ name: "test", level: "silent" });
// Where Debian keeps cryptsetup, which is not on everybody's PATH.
const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };

const cryptsetup = (args: readonly string[], input: string): Buffer =>
  execFileSync("cryptsetup", args, { input, env, stdio: ["pipe", "pipe", "pipe"] });

/** A disk in the one form that the guest accepts, made by cryptsetup alone. */
function format(device: string, passphrase: string): void {
  const form = "--type luks2 --offset 32768 --cipher aes-xts-plain64 --key-size 512 --hash sha256 --sector-size 512";
  const pbkdf = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000";
  const key = "--key-file -";
  cryptsetup(["luksFormat", "--batch-mode", ...`${form} ${pbkdf} ${key}`.split(" "), device], passphrase);
}

/** Real cryptsetup for formatting; what needs device-mapper and mounts is recorded instead. */
function recorder(answers: Partial<Record<string, () => void>> = {}): { run: RunProgram; calls: string[][] } {
  const calls: string[][] = [];
  return {
    calls,
    run: async (program, args, options) => {
      calls.push([program, ...args]);
      answers[`${program} ${args[0]}`]?.();
      if (program === "cryptsetup" && args[0] === "luksFormat") return run(program, args, { ...options, env });
      return { code: 0, stdout: "", stderr: "" };
    },
  };
}

describe("data disk", () => {
  let folder: string;
  const key = new Uint8Array(32).fill(7);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-disk-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const blank = async (name: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, "");
    await truncate(path, 64 * 1024 * 1024);
    return path;
  };
  const start = async (path: string): Promise<Buffer> => {
    const file = await open(path);
    try {
      return (await file.read(Buffer.alloc(32_768), 0, 32_768, 0)).buffer;
    } finally {
      await file.close();
    }
  };
  const openWith = (device: string, run: RunProgram): Promise<unknown> =>
    openDataDisk({
      device,
      mountPoint: join(folder, "mnt"),
      headerFolder: join(folder, "header"),
      mapperFolder: join(folder, "mapper"),
      key,
      run,
      log,
      onProgress: () => undefined,
    });

  it("leaves a disk that still counts as blank when a boot dies while making it (DS #1243)", async () => {
    const device = await blank("killed");
    const { run } = recorder({
      "mkfs.ext4 -F": () => {
        throw new Error("killed");
      },
      "cryptsetup luksOpen": () => {
        throw new Error("no device-mapper here");
      },
    });
    await assert.rejects(openWith(device, run));
    assert.ok(
      (await start(device)).every((byte) => byte === 0),
      "nothing of a header is on the disk yet",
    );
  });

  it("never passes the key as an argument (#556)", async () => {
    const device = await blank("argv");
    const { run, calls } = recorder({
      "cryptsetup luksOpen": () => {
        throw new Error("no device-mapper here");
      },
    });
    await assert.rejects(openWith(device, run));
    assert.ok(calls.some((call) => call[1] === "luksFormat"));
    assert.ok(!calls.flat().some((argument) => argument.includes("0707")));
  });

  it("says that a key is the wrong one, and does not format the disk", async () => {
    const device = await blank("wrong-key");
    format(device, "other");
    const before = await start(device);
    const { run, calls } = recorder({
      "cryptsetup luksOpen": () => {
        throw new ProcessError("failed", "cryptsetup ended with code 2", { exitCode: 2 });
      },
    });
    await assert.rejects(openWith(device, run), { code: "disk-key-wrong", message: /was made with another key/ });
    assert.ok(!calls.some((call) => call[1] === "luksFormat"));
    assert.deepEqual(await start(device), before);
  });

  it("opens with the bytes that were checked, never with the disk's own header (#555)", async () => {
    const device = await blank("checked");
    format(device, Buffer.from(key).toString("hex"));
    let copied: Buffer | undefined;
    const base = recorder();
    const watching: RunProgram = async (program, args, options) => {
      if (args[0] === "luksOpen") {
        copied = (await readFile(args[args.indexOf("--header") + 1] ?? "")).subarray(0, 32_768);
        cryptsetup(
          [
            "open",
            "--test-passphrase",
            "--header",
            args[args.indexOf("--header") + 1] ?? "",
            "--key-file",
            "-",
            device,
          ],
          Buffer.from(key).toString("hex"),
        );
        throw new Error("no device-mapper here");
      }
      return base.run(program, args, options);
    };
    await assert.rejects(openWith(device, watching));
    assert.deepEqual(copied, await start(device));
  });

  it("refuses a disk with foreign content", async () => {
    const device = await blank("foreign");
    const file = await open(device, "r+");
    await file.write(Buffer.from("data"), 0, 4, 1024);
    await file.close();
    await assert.rejects(openWith(device, recorder().run), {
      code: "disk-invalid",
      message: /holds something that is not ours/,
    });
  });

  it("finds the labelled partition, and refuses a partitioned disk without one", async () => {
    const classBlock = join(folder, "class");
    const partition = async (name: string, label: string): Promise<void> => {
      await mkdir(join(classBlock, name), { recursive: true });
      await writeFile(join(classBlock, name, "uevent"), `DEVNAME=${name}\nDEVTYPE=partition\nPARTNAME=${label}\n`);
    };
    await partition("vdb1", "something");
    await assert.rejects(findDataDevice(undefined, log, classBlock), /has partitions and none is labelled dstack-data/);
    await partition("vdc1", "dstack-data");
    assert.equal(await findDataDevice(undefined, log, classBlock), "/dev/vdc1");
  });
});
