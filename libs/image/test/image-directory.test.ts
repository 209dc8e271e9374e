import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { toHex } from "@dstack/bytes";
import {
  formatChecksumFile,
  ImageError,
  listImages,
  makeMrBundle,
  osImageHash,
  parseImageMetadata,
  readImageDirectory,
  verifyImageFiles,
} from "@dstack/image";

const root = await mkdtemp(join(tmpdir(), "dstack-image-"));
after(() => rm(root, { recursive: true, force: true }));

const METADATA = {
  bios: "ovmf.fd",
  kernel: "bzImage",
  initrd: "initramfs.cpio.gz",
  cmdline: "console=ttyS0",
  rootfs: "rootfs.img.parted.verity",
  version: "0.6.0",
  is_dev: true,
};

async function makeImage(name: string, metadata: object = METADATA): Promise<string> {
  const dir = join(root, name);
  await mkdir(dir);
  const files: Record<string, string> = {
    "ovmf.fd": "firmware",
    bzImage: "kernel",
    "initramfs.cpio.gz": "initrd",
    "metadata.json": JSON.stringify(metadata),
  };
  for (const [file, text] of Object.entries(files)) await writeFile(join(dir, file), text);
  await writeFile(join(dir, "rootfs.img.parted.verity"), "root");
  const sums = formatChecksumFile(
    Object.entries(files).map(([file, text]) => ({
      name: file,
      sha256: createHash("sha256").update(text).digest("hex"),
    })),
  );
  await writeFile(join(dir, "sha256sum.txt"), sums);
  await writeFile(join(dir, "digest.txt"), `${toHex(osImageHash(sums))}\n`);
  return dir;
}

test("reads an image folder and recomputes its identity", async () => {
  const dir = await makeImage("dstack-1");
  const image = await readImageDirectory(dir);
  assert.equal(image.name, "dstack-1");
  assert.equal(image.version, "0.6.0");
  assert.equal(image.metadata.is_dev, true);
  assert.equal(image.files.rootfs, join(dir, "rootfs.img.parted.verity"));
  assert.ok(image.osImageHash);
  assert.equal(toHex(image.osImageHash), (await readFile(join(dir, "digest.txt"), "utf8")).trim());
});

test("takes the version from the folder's name when metadata.json has none", async () => {
  const { version: _, ...metadata } = METADATA;
  for (const [name, version] of [
    ["dstack-0.5.6", "0.5.6"],
    ["dstack-dev-0.5.7", "0.5.7"],
    ["dstack-sim-0.6.1", "0.6.1"],
    ["else", ""],
  ] as const) {
    assert.equal((await readImageDirectory(await makeImage(name, metadata))).version, version);
  }
});

test("never trusts digest.txt over sha256sum.txt", async () => {
  const dir = await makeImage("dstack-2");
  await writeFile(join(dir, "digest.txt"), `${"0".repeat(64)}\n`);
  await assert.rejects(readImageDirectory(dir), { name: "ImageError", code: "bad-checksums" });
});

test("refuses a metadata.json that is a link or names a link", async () => {
  const dir = await makeImage("dstack-3");
  await rm(join(dir, "bzImage"));
  await symlink("/etc/passwd", join(dir, "bzImage"));
  await assert.rejects(readImageDirectory(dir), /not a regular file/);
  const other = await makeImage("dstack-4");
  await rm(join(other, "metadata.json"));
  await symlink(join(dir, "metadata.json"), join(other, "metadata.json"));
  await assert.rejects(readImageDirectory(other), { name: "ImageError", code: "not-an-image" });
});

test("lists images by name and says why a folder is skipped", async () => {
  const dir = await mkdtemp(join(root, "list-"));
  await mkdir(join(dir, "empty"));
  await mkdir(join(dir, ".old-x"));
  const skipped: string[] = [];
  assert.deepEqual(await listImages(dir, (name, reason) => skipped.push(`${name}: ${reason}`)), []);
  assert.match(skipped.join(), /^empty: .*metadata\.json/);
  assert.deepEqual(await listImages(join(dir, "missing")), []);
});

test("metadata.json may not name a file outside its folder", () => {
  for (const kernel of ["../bzImage", "/boot/vmlinuz", "a/b", "..", "", "a\u0000b"]) {
    assert.throws(
      () => parseImageMetadata(Buffer.from(JSON.stringify({ ...METADATA, kernel }))),
      (error: unknown) => error instanceof ImageError && error.code === "bad-metadata",
    );
  }
});

test("metadata.json may not carry a second line of kernel parameters", () => {
  assert.throws(() => parseImageMetadata(Buffer.from(JSON.stringify({ ...METADATA, cmdline: "a\nb" }))), /cmdline/);
});

test("ignores unknown members of metadata.json, as the format asks", () => {
  assert.equal(parseImageMetadata(Buffer.from(JSON.stringify({ ...METADATA, future: 1 }))).kernel, "bzImage");
});

test("verifies every listed file and names the one that differs", async () => {
  const dir = await makeImage("dstack-5");
  const good = await verifyImageFiles(dir);
  assert.equal(good.ok, true);
  await writeFile(join(dir, "initramfs.cpio.gz"), "other");
  const bad = await verifyImageFiles(dir);
  assert.equal(bad.ok, false);
  assert.match(bad.ok ? "" : bad.reason, /^initramfs\.cpio\.gz: .*expects/);
});

test("refuses a checksum file that leaves out a file every image has", async () => {
  const dir = await makeImage("dstack-6");
  const sums = await readFile(join(dir, "sha256sum.txt"), "utf8");
  await writeFile(
    join(dir, "sha256sum.txt"),
    sums
      .split("\n")
      .filter((line) => !line.endsWith("bzImage"))
      .join("\n"),
  );
  const result = await verifyImageFiles(dir);
  assert.match(result.ok ? "" : result.reason, /does not list bzImage/);
});

test("makes the same bundle bytes twice, without the root file system", async () => {
  const dir = await makeImage("dstack-7");
  const first = await readFile(await makeMrBundle(dir, root));
  const second = await readFile(await makeMrBundle(dir, await mkdtemp(join(root, "out-"))));
  assert.deepEqual(first, second);
  assert.equal(first.includes("rootfs"), false);
});

test(
  "a bundle that cannot be written is an error to its caller, and none that nobody handles",
  { timeout: 20_000 },
  async () => {
    const dir = await makeImage("dstack-8");
    const stray: unknown[] = [];
    const note = (error: unknown): void => void stray.push(error);
    process.on("unhandledRejection", note);
    try {
      for (let i = 0; i < 5; i++) await assert.rejects(makeMrBundle(dir, join(root, "no", "such", "folder")));
      await new Promise((resolve) => setTimeout(resolve, 50));
    } finally {
      process.off("unhandledRejection", note);
    }
    assert.deepEqual(stray, []);
  },
);
