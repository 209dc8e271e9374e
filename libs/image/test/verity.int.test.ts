/** Our hash tree and partition table, read by the programs that everybody else reads them with. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ProcessError, run } from "@dstack/process";
import { makeVerityTree } from "../src/builder/verity.ts";

const dir = await mkdtemp(join(tmpdir(), "dstack-verity-"));
after(() => rm(dir, { recursive: true, force: true }));
const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };

test("veritysetup accepts the tree and finds a changed block", async () => {
  const path = join(dir, "image");
  const file = await open(path, "w+");
  const size = 700 * 4096;
  await file.write(randomBytes(size), 0, size, 0);
  const tree = await makeVerityTree(file, size);
  await file.write(tree.bytes, 0, tree.bytes.length, size);
  const root = Buffer.from(tree.rootHash).toString("hex");
  const verify = () => run("veritysetup", ["verify", `--hash-offset=${size}`, path, path, root], { env });
  await verify();
  await file.write(Buffer.from([0]), 0, 1, 300 * 4096 + 17);
  await file.write(Buffer.from([1]), 0, 1, 301 * 4096 + 17);
  await file.close();
  await assert.rejects(
    verify(),
    (error: unknown) => error instanceof ProcessError && /corrupt|Verification/i.test(error.message),
  );
});
