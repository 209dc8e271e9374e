import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ImageStore } from "@dstack/image/store";
import { createLogger } from "@dstack/log";
import type { HttpServer } from "@dstack/rpc";
import { hash } from "bcryptjs";
import { ADMIN_LOGINS, adminCredentials } from "@dstack/http";
import { parseHtpasswd, passwordCheck } from "../src/http/htpasswd.ts";
import { startAdminServer } from "../src/http/admin.ts";
import { KmsError } from "../src/errors.ts";
import { noImageVerification } from "../src/image/os-image-verifier.ts";

const log = createLogger({ name: "test", stream: { write: () => true } });
const HASH = "ab".repeat(32);
const OTHER = "cd".repeat(32);
let folder: string;
let server: HttpServer;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-admin-"));
  const images = new ImageStore({
    cacheDir: folder,
    downloadUrl: "http://127.0.0.1:1/{OS_IMAGE_HASH}",
    timeoutMs: 1_000,
    log,
  });
  server = await startAdminServer({
    listen: { host: "127.0.0.1", port: 0 },
    auth: adminCredentials({
      rules: ADMIN_LOGINS.kms,
      tokens: ["s3cret"],
      isUser: passwordCheck(parseHtpasswd(`# operators\nana:${await hash("open sesame", 4)}\n`)),
    }),
    caches: { images, verifier: noImageVerification },
    version: "0.6.0",
    log,
  });
});
after(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

async function clear(
  body: object,
  headers: Record<string, string> = { "x-admin-token": "s3cret" },
): Promise<{ readonly status: number; readonly text: string }> {
  const answer = await fetch(`http://${server.address}/prpc/Admin.ClearImageCache?json`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  return { status: answer.status, text: await answer.text() };
}

test("wants the token, and takes it in each form that clients use", async () => {
  const basic = (text: string): Record<string, string> => ({
    authorization: `Basic ${Buffer.from(text).toString("base64")}`,
  });
  for (const headers of [
    { "x-admin-token": "s3cret" },
    { authorization: "Bearer s3cret" },
    basic("any:s3cret"),
    basic("s3cret:"),
    basic("ana:open sesame"),
    { "x-admin-token": "s3cret", authorization: "Bearer x" },
  ] as Record<string, string>[])
    assert.deepEqual(await clear({}, headers), { status: 200, text: "null" });
  for (const headers of [
    {},
    { "x-admin-token": "S3cret" },
    { "x-admin-token": "" },
    basic("s3cret:x"),
    basic(":"),
    basic("ana:"),
    basic("ana:open"),
    basic("bob:open sesame"),
    { authorization: "Bearer x", "x-admin-token": "x" },
  ] as Record<string, string>[]) {
    assert.deepEqual(await clear({}, headers), { status: 401, text: "" }, JSON.stringify(headers));
  }
  assert.equal((await fetch(`http://${server.address}/prpc/Admin.ClearImageCache?token=s3cret`)).status, 401);
});

test("an htpasswd file without users, with another kind of hash, or with a user twice ends the start", async () => {
  const good = `ana:${await hash("x", 4)}`;
  assert.equal(parseHtpasswd(`\n# c\n${good}\n`).size, 1);
  for (const text of [
    "",
    "# nobody\n",
    "ana:plain",
    "ana:$apr1$x$y",
    `${good}\n${good}`,
    good.replace("$04$", "$31$"),
    `:${good.slice(4)}`,
  ]) {
    assert.throws(
      () => parseHtpasswd(text),
      (error: unknown) => error instanceof KmsError && error.code === "config-invalid",
      text,
    );
  }
});

test("takes hex in capitals for the same name, and hex of another length for one that is not there", async () => {
  await mkdir(join(folder, "images", HASH), { recursive: true });
  for (const name of ["AB", HASH.slice(2), `${HASH}00`])
    assert.deepEqual(await clear({ image_hash: name, config_hash: name }), { status: 200, text: "null" }, name);
  assert.ok((await readdir(join(folder, "images"))).includes(HASH));
  assert.deepEqual(await clear({ image_hash: HASH.toUpperCase() }), { status: 200, text: "null" });
  assert.ok(!(await readdir(join(folder, "images"))).includes(HASH));
});

test("removes what is named and nothing else (#558)", async () => {
  for (const name of [HASH, OTHER]) await mkdir(join(folder, "images", name), { recursive: true });
  await mkdir(join(folder, "outside"));
  assert.equal((await clear({ image_hash: HASH })).status, 200);
  assert.deepEqual(await readdir(join(folder, "images")), [OTHER]);
  for (const name of ["../outside", "..", ".", "/", "AG", ` ${HASH}`, `${HASH}/..`, "tmp"]) {
    const { status, text } = await clear({ image_hash: name });
    assert.equal(status, 400, name);
    assert.match(text, /failed to clear image cache: invalid cache key/);
    assert.match((await clear({ config_hash: name })).text, /failed to clear measurement cache/);
  }
  assert.ok((await readdir(folder)).includes("outside"));
  assert.equal((await clear({ image_hash: "all" })).status, 200);
  assert.ok(!(await readdir(folder)).includes("images"));
  assert.equal((await clear({ image_hash: HASH })).status, 200);
});
