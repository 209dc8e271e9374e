import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, globSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { authenticodeParts } from "../src/authenticode.ts";

const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack/images");
const [kernelFile] = existsSync(cache) ? globSync(join(cache, "dstack-*/bzImage")) : [];

it(
  "finds the Authenticode digest that a distribution signed into its kernel",
  { skip: kernelFile === undefined ? `no built image in ${cache}` : false },
  () => {
    const kernel = new Uint8Array(readFileSync(kernelFile!));
    const view = new DataView(kernel.buffer);
    const certificateEntry = view.getUint32(0x3c, true) + 24 + 144;
    const [at, length] = [view.getUint32(certificateEntry, true), view.getUint32(certificateEntry + 4, true)];
    assert.notEqual(length, 0, `${kernelFile}: the distribution's kernel is signed`);
    const hash = createHash("sha256");
    for (const part of authenticodeParts(kernel)) hash.update(part);
    assert.ok(Buffer.from(kernel.subarray(at, at + length)).includes(hash.digest()));
  },
);
