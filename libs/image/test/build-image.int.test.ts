/** Whole builds of the sim flavour with the packages in the build cache. */
import assert from "node:assert/strict";
import { readFile, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { verifyImageFiles } from "@dstack/image";
import { buildImage, type BuiltImage } from "@dstack/image/builder";

const repoRoot = join(import.meta.dirname, "../../..");
const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const cacheDir = join(cache, "image-build");
after(() => rm(join(cacheDir, "test-images"), { recursive: true, force: true }));

const build = (outDir: string): Promise<BuiltImage> => buildImage({ flavour: "sim", repoRoot, cacheDir, outDir });

test(
  "two builds from the same lock give the same digest.txt, bundle and root file system, and a third builds nothing",
  { timeout: 900_000 },
  async () => {
    const outDir = join(cacheDir, "test-images");
    await rm(outDir, { recursive: true, force: true });
    let first = await build(join(cache, "images"));
    const second = await build(outDir);
    // A source file may be edited while this runs; then the first image is an older one.
    const inputs = ({ image }: BuiltImage): Promise<string> => readFile(join(image.dir, ".inputs"), "utf8");
    if ((await inputs(first)) !== (await inputs(second))) first = await build(join(cache, "images"));
    assert.equal(await inputs(first), await inputs(second), "the sources were edited while this test built them twice");
    assert.equal(second.cached, false);
    for (const name of ["digest.txt", "sha256sum.txt", "metadata.json"])
      assert.equal(
        await readFile(join(second.image.dir, name), "utf8"),
        await readFile(join(first.image.dir, name), "utf8"),
        name,
      );
    assert.deepEqual(await readFile(second.mrBundle), await readFile(first.mrBundle));
    assert.equal(
      (await stat(join(second.image.dir, "rootfs.img.parted.verity"))).size,
      (await stat(join(first.image.dir, "rootfs.img.parted.verity"))).size,
    );
    assert.equal((await verifyImageFiles(second.image.dir)).ok, true);
    const third = await build(outDir);
    assert.ok(third.cached || (await inputs(third)) !== (await inputs(second)));
  },
);
