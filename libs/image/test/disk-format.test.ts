import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { crc32 } from "node:zlib";
import { layOutGpt, guidBytes } from "../src/builder/gpt.ts";
import { kernelCmdline } from "../src/builder/kernel-cmdline.ts";
import { moduleDepends } from "../src/builder/kernel-modules.ts";
import { makeCpio } from "../src/builder/cpio.ts";
import { neededLibraries } from "../src/builder/elf.ts";
import { makeVerityTree } from "../src/builder/verity.ts";

const root = await mkdtemp(join(tmpdir(), "dstack-disk-"));
after(() => rm(root, { recursive: true, force: true }));

test("the kernel command line is the one the format prescribes, with ext4 as our storage", () => {
  assert.equal(
    kernelCmdline("ab".repeat(32), 4096),
    `console=ttyS0 init=/init panic=1 net.ifnames=0 biosdevname=0 mce=off oops=panic pci=noearly pci=nommconf random.trust_cpu=y random.trust_bootloader=n tsc=reliable no-kvmclock dstack.rootfs_hash=${"ab".repeat(32)} dstack.rootfs_size=4096 dstack.storage_fs=ext4`,
  );
});

test("lays out one partition named dstack-rootfs at 1 MiB with 1 MiB behind it", () => {
  const { head, tail, diskSizeBytes, partitionOffsetBytes } = layOutGpt(5_000_000);
  assert.equal(partitionOffsetBytes, 1_048_576);
  assert.equal(diskSizeBytes, 7 * 1_048_576);
  const header = Buffer.from(head).subarray(512, 604);
  assert.equal(header.toString("latin1", 0, 8), "EFI PART");
  assert.equal(
    header.subarray(56, 72).toString("hex"),
    Buffer.from(guidBytes("d5acc000-0000-4000-8000-000000000000")).toString("hex"),
  );
  const entry = Buffer.from(head).subarray(1024, 1024 + 128);
  assert.equal(entry.toString("utf16le", 56, 56 + 26), "dstack-rootfs");
  assert.equal(entry.readBigUInt64LE(32), 2048n);
  assert.equal(entry.readBigUInt64LE(40), 2048n + 5n * 2048n - 1n);
  const cleared = Buffer.from(header);
  cleared.writeUInt32LE(0, 16);
  assert.equal(crc32(cleared), header.readUInt32LE(16));
  assert.equal(head.length, 34 * 512);
  assert.equal(tail.length, 33 * 512);
  assert.equal(Buffer.from(tail).toString("latin1", tail.length - 512, tail.length - 504), "EFI PART");
});

test("hashes one block, one level and two levels as dm-verity does", async () => {
  const file = await open(join(root, "data"), "w+");
  const zero = createHash("sha256").update(Buffer.alloc(4096)).digest();
  try {
    await file.truncate(4096);
    const one = await makeVerityTree(file, 4096);
    const only = Buffer.concat([zero, Buffer.alloc(4096 - 32)]);
    assert.equal(Buffer.from(one.rootHash).toString("hex"), createHash("sha256").update(only).digest("hex"));
    assert.equal(one.bytes.length, 2 * 4096);
    assert.equal(Buffer.from(one.bytes).toString("latin1", 0, 6), "verity");
    await file.truncate(129 * 4096);
    const two = await makeVerityTree(file, 129 * 4096);
    assert.equal(two.bytes.length, (1 + 1 + 2) * 4096);
    await file.write(Buffer.from([1]), 0, 1, 128 * 4096);
    assert.notDeepEqual((await makeVerityTree(file, 129 * 4096)).rootHash, two.rootHash);
    await assert.rejects(makeVerityTree(file, 4097), /multiple of 4096/);
  } finally {
    await file.close();
  }
});

test("writes cpio entries with fixed owner, time and inode", () => {
  const archive = Buffer.from(
    makeCpio([
      { kind: "directory", path: "bin" },
      { kind: "file", path: "bin/x", bytes: Buffer.from("hello"), executable: true },
      { kind: "link", path: "bin/y", target: "x" },
    ]),
  );
  assert.equal(archive.length % 4, 0);
  assert.match(archive.toString("latin1"), /^070701/);
  const at = archive.indexOf("bin/x\0") - 110;
  const field = (index: number): number =>
    Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
  assert.deepEqual(
    [field(0), field(1), field(2), field(3), field(4), field(5), field(6)],
    [2, 0o100755, 0, 0, 1, 0, 5],
  );
  assert.ok(archive.indexOf("TRAILER!!!") > at);
});

test("reads what a kernel module depends on", () => {
  assert.deepEqual(moduleDepends(Buffer.from("\0license=GPL\0depends=x_tables,nf-nat\0vermagic=6\0")), [
    "x_tables",
    "nf_nat",
  ]);
  assert.deepEqual(moduleDepends(Buffer.from("\0depends=\0")), []);
  assert.deepEqual(moduleDepends(Buffer.from("nothing")), []);
});

test("reads what a program links against", async () => {
  const { readFile } = await import("node:fs/promises");
  assert.ok(neededLibraries(await readFile("/bin/sh")).includes("libc.so.6"));
  assert.throws(() => neededLibraries(Buffer.from("#!/bin/sh\n".padEnd(64))), /ELF/);
});
