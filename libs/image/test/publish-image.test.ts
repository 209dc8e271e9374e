import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { toHex } from "@dstack/bytes";
import { formatChecksumFile, osImageHash } from "@dstack/image";
import { findPublished, publishImage, stampImage } from "../src/builder/publish-image.ts";

const root = await mkdtemp(join(tmpdir(), "dstack-publish-"));
after(() => rm(root, { recursive: true, force: true }));

async function finished(text: string): Promise<string> {
  const dir = await mkdtemp(join(root, "built-"));
  const files: Record<string, string> = {
    "ovmf.fd": "f",
    bzImage: text,
    "initramfs.cpio.gz": "i",
    "metadata.json": JSON.stringify({ kernel: "bzImage", initrd: "initramfs.cpio.gz" }),
  };
  for (const [name, body] of Object.entries(files)) await writeFile(join(dir, name), body);
  const sums = formatChecksumFile(
    Object.entries(files).map(([name, body]) => ({ name, sha256: createHash("sha256").update(body).digest("hex") })),
  );
  await writeFile(join(dir, "sha256sum.txt"), sums);
  await writeFile(join(dir, "digest.txt"), `${toHex(osImageHash(sums))}\n`);
  await stampImage(dir, text);
  return dir;
}

test("publishes an image with its bundle and finds it by its inputs only", async () => {
  const out = await mkdtemp(join(root, "out-"));
  const published = await publishImage(await finished("one"), out, "img");
  assert.equal((await findPublished(out, "img", "one"))?.osImageHash, published.osImageHash);
  assert.equal(await findPublished(out, "img", "two"), undefined);
  assert.deepEqual((await readdir(out)).sort(), ["img", `mr_${published.osImageHash}.tar.gz`]);
});

test("replaces an older image of the name and keeps the older bundle for VMs that still run", async () => {
  const out = await mkdtemp(join(root, "out-"));
  const old = await publishImage(await finished("one"), out, "img");
  await publishImage(await finished("two"), out, "img");
  assert.equal(await readFile(join(out, "img/bzImage"), "utf8"), "two");
  assert.ok((await readdir(out)).includes(`mr_${old.osImageHash}.tar.gz`));
});

test("removes bundles without an image after a day", async () => {
  const out = await mkdtemp(join(root, "out-"));
  const old = await publishImage(await finished("one"), out, "img");
  await utimes(old.mrBundle, 1, 1);
  await publishImage(await finished("two"), out, "img");
  assert.equal((await readdir(out)).includes(`mr_${old.osImageHash}.tar.gz`), false);
});

test("completes a publication that was killed between its renames", async () => {
  const out = await mkdtemp(join(root, "out-"));
  await publishImage(await finished("one"), out, "img");
  await rename(await finished("two"), join(out, ".ready-img"));
  await rename(join(out, "img"), join(out, ".old-img"));
  assert.ok(await findPublished(out, "img", "two"));
  assert.equal(await readFile(join(out, "img/bzImage"), "utf8"), "two");
  assert.deepEqual(
    (await readdir(out)).filter((name) => name.startsWith(".")),
    [],
  );
});

test("writes the bundle again when a kill left an image without one", async () => {
  const out = await mkdtemp(join(root, "out-"));
  const published = await publishImage(await finished("one"), out, "img");
  await rm(published.mrBundle);
  assert.ok(await findPublished(out, "img", "one"));
  assert.ok((await readdir(out)).includes(`mr_${published.osImageHash}.tar.gz`));
});

test("an image that was only half moved in is never taken for a finished one", async () => {
  const out = await mkdtemp(join(root, "out-"));
  await mkdir(join(out, ".incoming-img"));
  await writeFile(join(out, ".incoming-img/bzImage"), "half");
  assert.equal(await findPublished(out, "img", "one"), undefined);
  await publishImage(await finished("one"), out, "img");
  assert.equal(await readFile(join(out, "img/bzImage"), "utf8"), "one");
});
