import assert from "node:assert/strict";
import { lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { extractMrBundle, ImageError, type MrBundleLimits } from "@dstack/image";
import { pack, type Header } from "tar-stream";

const root = await mkdtemp(join(tmpdir(), "dstack-bundle-"));
after(() => rm(root, { recursive: true, force: true }));

async function tar(entries: readonly (Partial<Header> & { name: string } & { body?: string })[]): Promise<Uint8Array> {
  const archive = pack();
  for (const { body, ...header } of entries) archive.entry(header, body ?? "");
  archive.finalize();
  return buffer(archive);
}

async function unpack(bytes: Uint8Array, limits: MrBundleLimits = {}): Promise<{ dir: string; names: string[] }> {
  const dir = await mkdtemp(join(root, "x-"));
  return {
    dir,
    names: (await extractMrBundle(Readable.from([Buffer.from(bytes)]), dir, limits)).map(({ name }) => name),
  };
}

async function refused(
  entries: readonly (Partial<Header> & { name: string } & { body?: string })[],
  pattern: RegExp,
  limits: MrBundleLimits = {},
): Promise<void> {
  const archive = gzipSync(await tar(entries));
  const dir = await mkdtemp(join(root, "x-"));
  await assert.rejects(
    extractMrBundle(Readable.from([archive]), dir, limits),
    (error: unknown) => error instanceof ImageError && error.code === "bad-bundle" && pattern.test(error.message),
  );
  for (const name of await readdir(dir)) assert.equal((await lstat(join(dir, name))).isFile(), true);
}

test("unpacks flat regular files, private to the owner", async () => {
  const { dir, names } = await unpack(
    gzipSync(
      await tar([
        { name: "./bzImage", body: "kernel" },
        { name: "metadata.json", body: "{}" },
      ]),
    ),
  );
  assert.deepEqual(names, ["bzImage", "metadata.json"]);
  assert.equal(await readFile(join(dir, "bzImage"), "utf8"), "kernel");
  assert.equal((await lstat(join(dir, "bzImage"))).mode & 0o777, 0o600);
});

test("allows the entry for the archive's own top folder", async () => {
  const { names } = await unpack(
    gzipSync(
      await tar([
        { name: "./", type: "directory" },
        { name: "./bzImage", body: "k" },
      ]),
    ),
  );
  assert.deepEqual(names, ["bzImage"]);
});

test("refuses links of both kinds: they would let a later entry write elsewhere", async () => {
  await refused([{ name: "bzImage", type: "symlink", linkname: "/etc/passwd" }], /symlink/);
  await refused(
    [
      { name: "a", body: "x" },
      { name: "bzImage", type: "link", linkname: "a" },
    ],
    /link/,
  );
});

test("refuses devices, pipes and folders", async () => {
  await refused([{ name: "bzImage", type: "character-device", devmajor: 1, devminor: 3 }], /character-device/);
  await refused([{ name: "bzImage", type: "block-device" }], /block-device/);
  await refused([{ name: "bzImage", type: "fifo" }], /fifo/);
  await refused([{ name: "dir", type: "directory" }], /directory/);
});

test("refuses names that leave the folder or hide in it", async () => {
  for (const name of ["../bzImage", "/etc/passwd", "a/b", "..", "./../x", "a\nb"])
    await refused([{ name, body: "x" }], /plain file name/);
});

test("refuses a name that occurs twice, so that what was hashed is what is used", async () => {
  await refused(
    [
      { name: "bzImage", body: "good" },
      { name: "./bzImage", body: "evil" },
    ],
    /twice/,
  );
});

test("refuses more files or bytes than allowed, judged by the header before the data", async () => {
  await refused(
    [
      { name: "a", body: "x" },
      { name: "b", body: "x" },
      { name: "c", body: "x" },
    ],
    /more than 2 files/,
    { maxFiles: 2 },
  );
  await refused([{ name: "a", body: "x".repeat(2000) }], /more than 1000 bytes/, { maxTotalBytes: 1000 });
});

test("refuses a decompression bomb before it fills the disk", async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  await assert.rejects(unpack(bomb, { maxTotalBytes: 1024 * 1024 }), { name: "ImageError", code: "bad-bundle" });
});

test("refuses an archive beyond the compressed limit", async () => {
  const archive = gzipSync(await tar([{ name: "a", body: "x".repeat(100) }]), { level: 0 });
  await assert.rejects(unpack(archive, { maxCompressedBytes: 64 }), /more than 64 bytes compressed/);
});

test("refuses a truncated archive and one that is no archive", async () => {
  const archive = gzipSync(await tar([{ name: "bzImage", body: "x".repeat(5000) }]));
  await assert.rejects(unpack(archive.subarray(0, archive.length - 20)), { code: "bad-bundle" });
  await assert.rejects(unpack(Buffer.from("hello")), { code: "bad-bundle" });
});

test("every prefix of an archive is refused, none hangs", { timeout: 30_000 }, async () => {
  const archive = gzipSync(
    await tar([
      { name: "a", body: "x".repeat(3000) },
      { name: "b", body: "y".repeat(700) },
    ]),
    { level: 0 },
  );
  for (let length = 0; length < archive.length; length += 97)
    await assert.rejects(unpack(archive.subarray(0, length)), { code: "bad-bundle" }, `prefix of ${length} bytes`);
});

test("stops inside a file when the caller gives up", { timeout: 10_000 }, async () => {
  const archive = gzipSync(await tar([{ name: "a", body: "x".repeat(300_000) }]), { level: 0 });
  const half = new Readable({ read: () => undefined });
  half.push(archive.subarray(0, 100_000));
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(extractMrBundle(half, await mkdtemp(join(root, "x-")), { signal: controller.signal }), {
    name: "AbortError",
  });
});

test("never replaces a file that is already there", async () => {
  const archive = gzipSync(await tar([{ name: "bzImage", body: "new" }]));
  const { dir } = await unpack(archive);
  await assert.rejects(extractMrBundle(Readable.from([archive]), dir), { code: "bad-bundle" });
});

test("stops when the caller gives up", async () => {
  const controller = new AbortController();
  const stuck = new Readable({ read: () => undefined });
  const dir = await mkdtemp(join(root, "x-"));
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(extractMrBundle(stuck, dir, { signal: controller.signal }), { name: "AbortError" });
});
