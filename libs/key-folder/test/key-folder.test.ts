import assert from "node:assert/strict";
import { mkdtemp, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { giveMark, KeyFolderError, markKeyFolder } from "@dstack/key-folder";

const folder = (): Promise<string> => mkdtemp(join(tmpdir(), "dstack-keys-"));
const insecure = { insecureSettings: ['core.auth_api.type = "dev"'] };

test("a folder first started with secure settings is production for good and refuses insecure ones (#608, #609)", async () => {
  const path = await folder();
  assert.equal(await markKeyFolder(path, { insecureSettings: [] }), "production");
  await assert.rejects(
    markKeyFolder(path, insecure),
    (error: unknown) =>
      error instanceof KeyFolderError &&
      error.code === "insecure-in-production" &&
      error.message.includes("auth_api.type"),
  );
  assert.equal(await markKeyFolder(path, { insecureSettings: [] }), "production");
});

test("a folder first started with an insecure setting stays a development one", async () => {
  const path = await folder();
  assert.equal(await markKeyFolder(path, insecure), "development");
  assert.equal(await markKeyFolder(path, { insecureSettings: [] }), "development");
});

test("a mark that is neither word stops the start", async () => {
  const path = await folder();
  await writeFile(join(path, "environment"), "staging\n");
  await assert.rejects(
    markKeyFolder(path, { insecureSettings: [] }),
    (error: unknown) => error instanceof KeyFolderError && error.code === "mark-unreadable",
  );
});

const code = (error: unknown): string => (error instanceof KeyFolderError ? error.code : String(error));

test("keys without a mark are nobody's until an operator says what they are for, once", async () => {
  const path = await folder();
  for (const settings of [insecure, { insecureSettings: [] }]) {
    assert.equal(
      await markKeyFolder(path, { ...settings, withoutMark: "mark it" }).catch(code),
      "mark-missing",
      "whatever today's settings are",
    );
  }
  assert.deepEqual(await readdir(path), []);
  assert.equal(await giveMark(path, "production", insecure).catch(code), "insecure-in-production");
  await giveMark(path, "production", { insecureSettings: [] });
  assert.equal(await markKeyFolder(path, { insecureSettings: [], withoutMark: "mark it" }), "production");
  assert.equal(await giveMark(path, "development", insecure).catch(code), "already-marked");
  assert.equal(await markKeyFolder(path, insecure).catch(code), "insecure-in-production");
});
