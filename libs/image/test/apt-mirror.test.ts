import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { findMirror } from "../src/builder/apt-mirror.ts";

const root = await mkdtemp(join(tmpdir(), "dstack-apt-"));
after(() => rm(root, { recursive: true, force: true }));

async function etc(files: Record<string, string>): Promise<string> {
  const dir = await mkdtemp(join(root, "etc-"));
  await mkdir(join(dir, "sources.list.d"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  return dir;
}

test("takes the host's own mirror from a deb822 file", async () => {
  const dir = await etc({
    "sources.list.d/debian.sources":
      "Types: deb\n# a comment\nURIs: http://mirror.test/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://mirror.test/debian-security\nSuites: bookworm-security\nComponents: main\n",
    "sources.list.d/other.list": "deb https://elsewhere.test/apt stable main\n",
  });
  assert.deepEqual(await findMirror(dir), {
    main: "http://mirror.test/debian",
    security: "http://mirror.test/debian-security",
  });
});

test("takes it from a one-line file with options", async () => {
  const dir = await etc({
    "sources.list":
      "# deb http://no.test/debian sid main\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian trixie main contrib\n",
  });
  assert.deepEqual(await findMirror(dir), { main: "http://mirror.test/debian", security: undefined });
});

test("skips disabled and source-only entries", async () => {
  const dir = await etc({
    "sources.list.d/a.sources":
      "Types: deb-src\nURIs: http://a.test/debian\nSuites: bookworm\n\nEnabled: no\nTypes: deb\nURIs: http://b.test/debian\nSuites: bookworm\n",
  });
  await assert.rejects(findMirror(dir), { code: "no-mirror" });
});

test("says how to name a mirror where the host has none", async () => {
  await assert.rejects(findMirror(await etc({})), /DSTACK_DEBIAN_MIRROR/);
  assert.deepEqual(await findMirror(await etc({}), "http://given.test/debian"), {
    main: "http://given.test/debian",
    security: undefined,
  });
});
