import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { createLogger } from "@dstack/log";
import { machineOf } from "@dstack/measure";
import { chooseAccelerator } from "../src/launch/accelerator.ts";
import { vmmConfigSchema } from "../src/config/config-schema.ts";
import { checkVmmConfig } from "../src/config/vmm-config.ts";
import { qemuArgv } from "../src/launch/qemu-argv.ts";
import { findQemu } from "../src/launch/qemu-binary.ts";
import { until } from "./vmm-process.ts";

const log = createLogger({ name: "test", level: "error" });
const cached = join(
  process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"),
  "dstack/qemu/current/bin/qemu-system-x86_64",
);
const qemuPath = [join(process.env["DSTACK_QEMU_DIR"] ?? "/nonexistent", "bin/qemu-system-x86_64"), cached].find(
  (path) => existsSync(path),
);

interface PciDevice {
  slot: number;
  class_info: { class: number };
  id: { vendor: number; device: number };
}

test(
  "a real QEMU puts our devices where the measured tables have them, the channel in vsock's slot",
  { skip: qemuPath === undefined ? "no QEMU at hand" : false },
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "dstack-qemu-"));
    mkdirSync(join(dir, "shared"));
    for (const name of ["hda.img", "rootfs.verity", "kernel", "initrd"]) {
      writeFileSync(join(dir, name), "");
      truncateSync(join(dir, name), 1024 * 1024);
    }
    const { cvm } = checkVmmConfig(vmmConfigSchema.parse({}), "/tmp");
    const [command = "", ...args] = qemuArgv({
      qemuPath: qemuPath ?? "",
      user: "",
      accelerator: "tcg",
      workDir: dir,
      vm: { id: "vm-123", vcpu: 2, memoryMb: 1024, ports: [], networks: [cvm.networking], volumes: [] },
      image: {
        kernel: join(dir, "kernel"),
        initrd: join(dir, "initrd"),
        rootfs: join(dir, "rootfs.verity"),
        bios: undefined,
        cmdline: "console=ttyS0",
        sharedReadOnly: true,
      },
      channel: { kind: "virtio-serial", socketPath: join(dir, "channel.sock"), portName: "org.dstack.host.0" },
      hostShareMode: "9p",
      qmpSocket: true,
      hotplugOff: false,
      pciHole64Bytes: 0,
      product: cvm.product,
      tee: { kind: "none" },
    });
    // Stopped before its first instruction; nothing is booted, so there is no kernel to load.
    const isKernel = (word: string, index: number): boolean =>
      ["-kernel", "-initrd", "-append"].includes(word) ||
      ["-kernel", "-initrd", "-append"].includes(args[index - 1] ?? "");
    const child = spawn(command, [...args.filter((word, index) => !isKernel(word, index)), "-S"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    try {
      await until(`QMP: ${said}`, () => existsSync(join(dir, "qmp.sock")) || undefined);
      const devices = await queryPci(join(dir, "qmp.sock"));
      const virtio = devices
        .filter((device) => device.id.vendor === 0x1af4)
        .map((device) => [device.slot, device.id.device & 0xff]);
      const [block, net, serial, share] = [0x01, 0x00, 0x03, 0x09];
      assert.deepEqual(virtio, [
        [1, block],
        [2, block],
        [3, net],
        [4, serial],
        [5, share],
      ]);
      assert.equal(
        machineOf({
          cpuCount: 2,
          memoryBytes: 2 ** 30,
          pciHole64Bytes: 0,
          hugepages: false,
          numGpus: 0,
          numNvswitches: 0,
          numNics: 1,
          numVerityVolumes: 0,
          swtpm: false,
          hotplugOff: false,
          attestationVariant: "legacy",
          qemuVersion: "10.0.2",
        }).deviceSlots,
        6,
      );
      assert.ok(existsSync(join(dir, "channel.sock")));
    } finally {
      child.kill("SIGKILL");
      rmSync(dir, { recursive: true, force: true });
    }
  },
);

async function queryPci(path: string): Promise<PciDevice[]> {
  const socket = connect({ path });
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const ask = async (execute: string): Promise<unknown> => {
    socket.write(`${JSON.stringify({ execute })}\n`);
    for (;;) {
      const { done, value } = await lines.next();
      if (done) throw new Error("QMP ended");
      const message = JSON.parse(value) as { return?: unknown; error?: unknown };
      if (message.error !== undefined) throw new Error(JSON.stringify(message.error));
      if (message.return !== undefined) return message.return;
    }
  };
  try {
    await lines.next();
    await ask("qmp_capabilities");
    return ((await ask("query-pci")) as { bus: number; devices: PciDevice[] }[])[0]?.devices ?? [];
  } finally {
    socket.destroy();
  }
}

/** A QEMU that only plays a trial boot. */
function fakeQemu(text: string): { dir: string; path: string } {
  const dir = mkdtempSync(join(tmpdir(), "dstack-trial-"));
  const path = join(dir, "qemu-system-x86_64");
  writeFileSync(path, `#!/bin/sh\necho trial >> '${dir}/runs'\n${text}\n`);
  chmodSync(path, 0o755);
  return { dir, path };
}

async function trial(text: string, version = "10.0.2") {
  const { dir, path } = fakeQemu(text);
  const options = {
    wanted: "auto",
    qemu: { path, imgPath: "", version },
    cacheFile: join(dir, "verdict.json"),
    log,
    kvmDevice: "/dev/null",
    trialTimeoutMs: 1_500,
  } as const;
  return { dir, options, chosen: await chooseAccelerator(options, "/kernel") };
}

test("KVM is taken only when a kernel really booted with it, and the verdict is kept", async () => {
  const good = await trial(
    'echo "Linux version 6.18"; echo "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"',
  );
  assert.equal(good.chosen.kind, "kvm");
  assert.equal((await chooseAccelerator(good.options, "/kernel")).kind, "kvm");
  assert.equal(readFileSync(join(good.dir, "runs"), "utf8"), "trial\n");
  for (const [text, reason] of [
    ["echo 'KVM internal error. Suberror: 1'; sleep 20", /KVM reported an internal error/],
    ["sleep 20", /did not end within/],
    ["echo 'failed to set MSR 0x10a' >&2; exit 1", /./],
    ["exit 0", /before the kernel was up/],
  ] as const) {
    const { chosen } = await trial(text);
    assert.equal(chosen.kind, "tcg", text);
    assert.match(chosen.reason, reason);
  }
});

test("another QEMU or host kernel is tried anew, and a missing device is not tried at all", async () => {
  const { dir, options } = await trial("exit 1");
  await chooseAccelerator({ ...options, qemu: { ...options.qemu, version: "10.1.0" } }, "/kernel");
  assert.equal(readFileSync(join(dir, "runs"), "utf8"), "trial\ntrial\n");
  const none = await chooseAccelerator({ ...options, kvmDevice: "/nonexistent/kvm" }, "/kernel");
  assert.deepEqual([none.kind, /cannot be opened \(ENOENT\)/.test(none.reason)], ["tcg", true]);
  assert.equal(readFileSync(join(dir, "runs"), "utf8"), "trial\ntrial\n");
});

test("without KVM a QEMU before version 10 is refused by its version", async () => {
  const { options } = await trial("exit 1");
  await assert.rejects(
    chooseAccelerator({ ...options, wanted: "tcg", qemu: { ...options.qemu, version: "7.2.22" } }, "/kernel"),
    /has version 7\.2\.22; without KVM at least 10\.0/,
  );
});

test("QEMU is found by configuration, by DSTACK_QEMU_DIR and on PATH, in this order", async () => {
  const { dir, path } = fakeQemu('echo "QEMU emulator version 10.0.2 (Debian)"');
  mkdirSync(join(dir, "bin"));
  writeFileSync(join(dir, "bin/qemu-system-x86_64"), '#!/bin/sh\necho "QEMU emulator version 11.0.0"\n');
  chmodSync(join(dir, "bin/qemu-system-x86_64"), 0o755);
  const find = (configured: string, env: Record<string, string>) =>
    findQemu({ configured, version: undefined, env, log });
  assert.equal((await find(path, { DSTACK_QEMU_DIR: dir })).version, "10.0.2");
  assert.equal((await find("", { DSTACK_QEMU_DIR: dir, PATH: dir })).version, "11.0.0");
  assert.equal((await find("", { PATH: `relative:${dir}` })).path, path);
  await assert.rejects(find("/nonexistent/qemu", { PATH: dir }), /cvm\.qemu_path is \/nonexistent\/qemu/);
});
