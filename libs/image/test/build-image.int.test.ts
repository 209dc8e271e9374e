/** Whole builds of the sim flavour with the packages in the build cache. */
import assert from "node:assert/strict";
import { access, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { verifyImageFiles } from "@dstack/image";
import { buildImage, type BuiltImage } from "@dstack/image/builder";

const repoRoot = join(import.meta.dirname, "../../..");
const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const cacheDir = join(cache, "image-build");
const skip = await access(join(cacheDir, "debs")).then(() => false, () => "no image was built on this machine yet");
const scratch: string[] = [];
after(async () => {
  for (const dir of scratch) await rm(dir, { recursive: true, force: true });
});

const build = (outDir: string): Promise<BuiltImage> => buildImage({ flavour: "sim", repoRoot, cacheDir, outDir });

test("two builds from the same lock give the same digest.txt, bundle and root file system", { skip, timeout: 600_000 }, async () => {
  const outDir = await mkdtemp(join(cache, ".image-test-"));
  scratch.push(outDir);
  const first = await build(join(cache, "images"));
  const second = await build(outDir);
  assert.equal(second.cached, false);
  for (const name of ["digest.txt", "sha256sum.txt", "metadata.json"]) assert.equal(await readFile(join(second.image.dir, name), "utf8"), await readFile(join(first.image.dir, name), "utf8"), name);
  assert.deepEqual(await readFile(second.mrBundle), await readFile(first.mrBundle));
  assert.equal((await stat(join(second.image.dir, "rootfs.img.parted.verity"))).size, (await stat(join(first.image.dir, "rootfs.img.parted.verity"))).size);
  assert.equal((await verifyImageFiles(second.image.dir)).ok, true);
  const started = performance.now();
  assert.equal((await build(outDir)).cached, true);
  assert.ok(performance.now() - started < 20_000, "an unchanged image is not built again");
});
