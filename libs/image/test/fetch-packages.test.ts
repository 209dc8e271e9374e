import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Apt } from "../src/builder/apt.ts";
import { fetchPackages, type FetchedPackages } from "../src/builder/fetch-packages.ts";
import type { PinnedPackage } from "../src/builder/package-lock.ts";
import type { AvailablePackage } from "../src/builder/packages-index.ts";
import { readRecipe, type Recipe } from "../src/builder/recipe.ts";

const root = await mkdtemp(join(tmpdir(), "dstack-fetch-"));
after(() => rm(root, { recursive: true, force: true }));
const recipe = await readRecipe(join(import.meta.dirname, "../../.."));

const contents = (name: string, version: string): string => `${name} ${version}`;
const available = (name: string, version: string): AvailablePackage => ({
  name,
  version,
  sha256: createHash("sha256").update(contents(name, version)).digest("hex"),
  sizeBytes: 10,
  file: `pool/main/x/${name}_${version}.deb`,
});
const pin = (group: string, name: string, version: string): PinnedPackage => ({ group, ...available(name, version) });

/** A mirror that holds exactly these packages; `served` replaces what a download really brings. */
function mirror(packages: readonly AvailablePackage[], served = contents): Apt {
  return {
    update: async () => ({
      find: (name, version) => packages.find((item) => item.name === name && item.version === version),
      matching: (pattern) => packages.filter(({ name }) => pattern.test(name)),
    }),
    closure: async (roots) =>
      packages
        .filter(({ name }) => (roots.includes("bash") ? ["bash", "libc6"] : ["xz-utils"]).includes(name))
        .map(({ name, version }) => ({ name, version })),
    download: async (specs, dir) => {
      for (const spec of specs) {
        const [name = "", version = ""] = spec.split("=");
        await writeFile(join(dir, `${name}.deb`), served(name, version));
      }
    },
  };
}

const offline = async (): Promise<Apt> => assert.fail("the network was asked");
const KERNEL = "linux-image-6.18.15+deb13-amd64";
const LOCK = [
  pin("firmware", "ovmf", "1"),
  pin("kernel", KERNEL, "1"),
  pin("rootfs", "bash", "1"),
  pin("rootfs", "libc6", "1"),
  pin("tools", "xz-utils", "1"),
];
const OFFERED = LOCK.map(({ name, version }) => available(name, version));

async function fetch(
  cacheDir: string,
  apt: () => Promise<Apt>,
  pins: Recipe["pins"] = LOCK,
): Promise<FetchedPackages & { said: string[] }> {
  const said: string[] = [];
  const fetched = await fetchPackages({
    cacheDir,
    recipe: { ...recipe, pins },
    apt,
    updateLock: false,
    onProgress: (text) => said.push(text),
  });
  return { ...fetched, said };
}

test("downloads what the lock names and needs no network the second time", async () => {
  const cacheDir = await mkdtemp(join(root, "c-"));
  const first = await fetch(cacheDir, async () => mirror(OFFERED));
  assert.deepEqual([first.pins, first.changes], [LOCK, []]);
  assert.deepEqual((await readdir(join(cacheDir, "debs"))).sort(), LOCK.map(({ sha256 }) => `${sha256}.deb`).sort());
  assert.deepEqual((await fetch(cacheDir, offline)).pins, LOCK);
});

test("refuses a package whose SHA-256 is not the lock's, and keeps none of it", async () => {
  const cacheDir = await mkdtemp(join(root, "c-"));
  const evil = mirror(OFFERED, (name, version) => (name === "bash" ? "evil" : contents(name, version)));
  await assert.rejects(
    fetch(cacheDir, async () => evil),
    (error: Error & { code?: string }) => error.code === "wrong-package" && error.message.startsWith("bash 1:"),
  );
  const kept = await readdir(join(cacheDir, "debs"));
  assert.equal(kept.includes(`${createHash("sha256").update("evil").digest("hex")}.deb`), false);
  assert.equal(
    kept.some((name) => name.startsWith(".download-")),
    false,
  );
});

test("names a pin that the mirror no longer has, resolves its group again and reports every change", async () => {
  const cacheDir = await mkdtemp(join(root, "c-"));
  const moved = [
    available("bash", "2"),
    available("libc6", "1"),
    available("libc6", "2"),
    available("xz-utils", "1"),
    available(KERNEL, "1"),
    available("ovmf", "1"),
  ];
  const apt = mirror(moved);
  const newest: Apt = {
    ...apt,
    closure: async (roots) =>
      (await apt.closure(roots)).filter(({ name, version }) => name !== "libc6" || version === "2"),
  };
  const result = await fetch(cacheDir, async () => newest);
  assert.match(result.said.join("\n"), /no longer has bash 1 /);
  // libc6 1 is still offered, but only libc6 2 was resolved together with bash 2.
  assert.deepEqual(result.changes, ["rootfs bash 1 -> 2", "rootfs libc6 1 -> 2"]);
  assert.equal(result.pins.find(({ name }) => name === "xz-utils")?.version, "1", "a group without a lost pin stays");
  const again = await fetch(cacheDir, offline);
  assert.deepEqual([again.pins, again.changes], [result.pins, result.changes]);
});

test("follows a kernel whose package name carries its version", async () => {
  const cacheDir = await mkdtemp(join(root, "c-"));
  const next = "linux-image-6.18.16+deb13-amd64";
  const result = await fetch(cacheDir, async () =>
    mirror([...OFFERED.filter(({ name }) => name !== KERNEL), available(next, "2")]),
  );
  assert.deepEqual(result.changes, [`kernel ${KERNEL} 1 removed`, `kernel ${next} 2 added`]);
});
