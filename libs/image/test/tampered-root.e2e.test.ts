/** A real boot from a root file system in which the host changed one block. */
import assert from "node:assert/strict";
import { constants, copyFile, mkdtemp, open, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readImageDirectory } from "@dstack/image";
import { ProcessError, run } from "@dstack/process";

const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const qemu =
  process.env["DSTACK_QEMU_DIR"] === undefined
    ? join(cache, "qemu/current/bin/qemu-system-x86_64")
    : join(process.env["DSTACK_QEMU_DIR"], "qemu-system-x86_64");
const imageDir = join(cache, "images/dstack-sim-0.6.0");

const dir = await mkdtemp(join(tmpdir(), "dstack-tampered-"));
after(() => rm(dir, { recursive: true, force: true }));

test("a root file system with one changed block never reaches init", { timeout: 200_000 }, async () => {
  const image = await readImageDirectory(imageDir);
  const disk = join(dir, "root.img");
  await copyFile(image.files.rootfs ?? "", disk, constants.COPYFILE_FICLONE);
  const file = await open(disk, "r+");
  // The squashfs superblock: the first block that the mount reads, one byte of its flags.
  await file.write(Buffer.from([0xff]), 0, 1, 1_048_576 + 24);
  await file.close();
  const args = [
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-nographic",
    "-nodefaults",
    "-no-reboot",
    "-serial",
    "stdio",
    "-bios",
    image.files.bios ?? "",
    "-kernel",
    image.files.kernel,
    "-initrd",
    image.files.initrd,
  ];
  args.push(
    "-drive",
    `file=${disk},if=none,id=hd0,format=raw,readonly=on`,
    "-device",
    "virtio-blk-pci,drive=hd0",
    "-machine",
    "q35",
    "-smp",
    "2",
    "-m",
    "1024M",
    "-append",
    image.metadata.cmdline ?? "",
  );
  let console = "";
  await run(qemu, args, { timeoutMs: 150_000, onOutput: (text) => (console += text) }).catch((error: unknown) => {
    assert.ok(error instanceof ProcessError && error.code === "failed", String(error));
  });
  assert.match(console, /dstack-initramfs: started/);
  assert.match(console, /verity.*(corrupt|mismatch)|data block .* is corrupted/i);
  assert.doesNotMatch(console, /dstack-init: started/);
});
