/** A whole boot in a folder: mounts and device-mapper are recorded, cryptsetup and the agent's sockets are real. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Tee } from "@dstack/agent";
import { mrConfigIdV1 } from "@dstack/attest";
import { hash32, parseHex } from "@dstack/bytes";
import { run } from "@dstack/process";
import { quietLog, recordedTee } from "../../../libs/agent/test/fixture.ts";
import { bootGuest, type BootOptions } from "../src/boot.ts";
import { stopGuest } from "../src/shutdown.ts";
import type { Undo } from "../src/system/boot-context.ts";
import { GUEST_PATHS, type GuestPaths } from "../src/system/paths.ts";
import type { RunProgram } from "../src/system/run-program.ts";

/** Of a version 4 quote: its header, then what a TD report has before MRCONFIGID. */
const MRCONFIGID_OFFSET = 48 + 184;

const MANIFEST = {
  manifest_version: 2,
  name: "story",
  runner: "bash",
  bash_script: "echo hello\n",
  init_script: "echo first\n",
  storage_fs: "ext4",
  secure_time: false,
  no_instance_id: true,
};

/** The quote as of a VM that was launched for this manifest. */
function boundQuote(quote: Uint8Array, manifest: string): Uint8Array {
  const bound = quote.slice();
  const hash = hash32(new Uint8Array(createHash("sha256").update(manifest).digest()));
  bound.set(mrConfigIdV1(hash), MRCONFIGID_OFFSET);
  return bound;
}

describe("one boot", () => {
  let folder: string;
  let disk: string;
  let paths: GuestPaths;
  let docker: Server;
  let programs: string | undefined;
  const undo: Undo[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-boot-"));
    const inFolder = (path: string): string => join(folder, path);
    paths = {
      ...GUEST_PATHS,
      ...Object.fromEntries(
        Object.entries(GUEST_PATHS).flatMap(([name, path]: [string, unknown]) =>
          typeof path === "string" ? [[name, inFolder(path)]] : [],
        ),
      ),
      shareMount: inFolder("share"),
    };
    // A disk that the kernel's command line names must be one in /dev, and this one must be nobody's.
    disk = `/dev/shm/dstack-boot-test-${process.pid}`;
    await writeFile(disk, "", { mode: 0o600 });
    await truncate(disk, 32 * 1024 * 1024);
    const files: [string, string][] = [
      [join(paths.shareMount, "app-compose.json"), JSON.stringify(MANIFEST)],
      [join(paths.shareMount, ".sys-config.json"), JSON.stringify({ vm_config: "{}" })],
      [paths.kernelCommandLine, `quiet dstack.data_device=${disk}\n`],
      [join(folder, "bin/containerd"), "#!/bin/sh\nexec /bin/sleep 600\n"],
      [join(folder, "bin/dockerd"), "#!/bin/sh\nexec /bin/sleep 600\n"],
    ];
    for (const [path, text] of files) {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
      if (text.startsWith("#!")) await chmod(path, 0o755);
    }
    for (const path of [paths.dockerSocket, paths.dockerConfig, join(paths.sockets, "x")])
      await mkdir(dirname(path), { recursive: true });
    // Daemons are found on the PATH: no real one may start.
    programs = process.env["PATH"];
    process.env["PATH"] = join(folder, "bin");
    docker = createServer(({ url }, response) => response.end(url?.includes("json") ? "[]" : "{}")).listen(
      paths.dockerSocket,
    );
  });

  afterEach(async () => {
    await stopGuest(undo.splice(0), quietLog);
    process.env["PATH"] = programs;
    docker.close();
    await rm(disk, { force: true });
    await rm(folder, { recursive: true, force: true });
  });

  /** What a boot did, in the order in which it did it. */
  function witness(
    changes: Partial<BootOptions> = {},
    boundTo = JSON.stringify(MANIFEST),
  ): { readonly story: string[]; readonly options: BootOptions } {
    const story: string[] = [];
    const recorded = recordedTee();
    const tee: Tee = {
      emit: async (event, payload) => {
        story.push(`measured ${event}`);
        await recorded.emit(event, payload);
      },
      attest: async (reportData, config) => {
        const attestation = await recorded.attest(reportData, config);
        return {
          ...attestation,
          platform: { ...attestation.platform, quote: boundQuote(attestation.platform.quote, boundTo) },
        };
      },
    };
    const runRecorded: RunProgram = async (program, args, options) => {
      if (program !== "sync") story.push(`${program} ${args.find((arg) => !arg.startsWith("-")) ?? args.join(" ")}`);
      if (program === "cryptsetup" && args[0] === "luksFormat")
        return run("/usr/sbin/cryptsetup", args, { ...options, env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } });
      if (program === "cryptsetup" && args[0] === "luksOpen") {
        await mkdir(paths.deviceMapper, { recursive: true });
        await writeFile(join(paths.deviceMapper, "dstack_data_disk"), "");
      }
      return { code: 0, stdout: "", stderr: "" };
    };
    return {
      story,
      options: {
        paths,
        image: { osName: "dstack", osVersion: "0.6.0", isDev: false },
        host: {
          notify: (event, payload) => story.push(`told ${event}${event === "boot.progress" ? `: ${payload}` : ""}`),
          getSealingKey: async () => assert.fail("this app has no local key provider"),
          flush: async () => undefined,
          close: () => undefined,
        },
        openTee: async () => tee,
        run: runRecorded,
        log: quietLog,
        onShutdown: (step) => undo.push(step),
        stopping: new AbortController().signal,
        publicListen: { path: join(folder, "public.sock") },
        onAgent: () => story.push("the agent answers"),
        console: (line) => story.push(line),
        ...changes,
      },
    };
  }

  it("measures the app before its keys, opens the disk before the agent, and Docker last", async () => {
    const { story, options } = witness();
    await bootGuest(options);
    assert.deepEqual(story, [
      "mount 9p",
      `umount ${paths.shareMount}`,
      "measured system-preparing",
      "measured app-id",
      "measured compose-hash",
      "measured init-script-hash",
      "measured gpu-policy-hash",
      "measured instance-id",
      "measured boot-mr-done",
      "told boot.progress: requesting app keys",
      "measured key-provider",
      "measured storage-fs",
      "mount tmpfs",
      "told boot.progress: initializing data disk",
      "cryptsetup luksFormat",
      "cryptsetup luksOpen",
      `mkfs.ext4 ${join(paths.deviceMapper, "dstack_data_disk")}`,
      "mount ext4",
      `umount ${paths.luksHeader}`,
      "told instance.info",
      "measured system-ready",
      "told boot.progress: data disk ready",
      `mount ${paths.work}`,
      "told boot.progress: init-script",
      "bash set -e\nsource " + join(paths.dstack, ".init-0.sh"),
      "the agent answers",
      "told boot.progress: setting up docker",
      `mount ${join(paths.persistent, "var/lib/docker")}`,
      "told boot.progress: running main script",
      `bash set -euo pipefail\nexec bash < ${join(paths.dstack, ".main.sh")}`,
      "[  OK  ] Finished App Compose Service.",
      "told boot.progress: done",
    ]);
    const file = await open(disk);
    const magic = await file.read(Buffer.alloc(6), 0, 6, 0);
    await file.close();
    assert.deepEqual(new Uint8Array(magic.buffer), parseHex("4c554b53babe"), "the header is on the disk");
    assert.match(await readFile(join(paths.hostShared, ".appkeys.json"), "utf8"), /"None"/);
  });

  it("undoes what it did in reverse order", async () => {
    const { story, options } = witness();
    await bootGuest(options);
    story.length = 0;
    await stopGuest(undo.splice(0), quietLog);
    assert.deepEqual(story, [
      `umount ${paths.dockerData}`,
      `umount ${paths.dstack}`,
      `umount ${paths.persistent}`,
      "cryptsetup close",
    ]);
  });

  it("stops at what it cannot do, before anything is measured, and undoes what had begun", async () => {
    await writeFile(join(paths.shareMount, "app-compose.json"), JSON.stringify({ ...MANIFEST, key_provider: "tpm" }));
    const { story, options } = witness();
    await assert.rejects(bootGuest(options), { code: "unsupported" });
    assert.deepEqual(story, ["mount 9p", `umount ${paths.shareMount}`]);
    assert.equal(undo.length, 1, "containerd is stopped");
  });

  it("gives the disk no key where the VM was launched for another app", async () => {
    const { story, options } = witness({}, "another manifest");
    await assert.rejects(bootGuest(options), { code: "binding-mismatch" });
    assert.equal(story.at(-1), "told boot.progress: requesting app keys");
  });

  it("gives the disk no key where the TEE fails", async () => {
    const failing: Tee = {
      emit: async () => {
        throw new Error("RTMR3 cannot be extended");
      },
      attest: async () => {
        throw new Error("no quote");
      },
    };
    const { story, options } = witness({ openTee: async () => failing });
    await assert.rejects(bootGuest(options), /RTMR3 cannot be extended/);
    assert.ok(!story.some((line) => line.startsWith("cryptsetup")));
  });
});
