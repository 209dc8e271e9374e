import assert from "node:assert/strict";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { KeyFolderError, markKeyFolder } from "@dstack/key-folder";

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
