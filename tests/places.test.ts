import assert from "node:assert/strict";
import { test } from "node:test";
import { createCli, qemuFolder, registryProgram } from "@dstack/cli/testing";

type FolderOf = (context: { readonly cacheDir: string }) => string;
// The bootstrap is plain JavaScript, which an old Node can read.
const bootstrap = async (file: string): Promise<Record<string, FolderOf>> =>
  (await import(import.meta.resolve(`../scripts/bootstrap/${file}`))) as Record<string, FolderOf>;

test("the command line looks for QEMU and the registry where the bootstrap puts them", async () => {
  const { layout } = createCli({ XDG_CACHE_HOME: "/caches" });
  const context = { cacheDir: layout.cache };
  assert.equal(qemuFolder(layout, {}), (await bootstrap("qemu.mjs"))["qemuFolder"]?.(context));
  const tools = (await bootstrap("debian.mjs"))["toolsFolder"]?.(context);
  assert.equal(registryProgram(layout), `${tools}/docker-registry`);
  assert.equal(qemuFolder(layout, { DSTACK_QEMU_DIR: "/elsewhere" }), "/elsewhere");
});
