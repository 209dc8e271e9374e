import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  describeLockChanges,
  formatPackageLock,
  parsePackageLock,
  type PinnedPackage,
} from "../src/builder/package-lock.ts";
import { parsePackages } from "../src/builder/packages-index.ts";

const LOCK = join(import.meta.dirname, "../../../image/packages.lock");
const pin = (name: string, version: string, sha = "ab"): PinnedPackage => ({
  group: "rootfs",
  name,
  version,
  sha256: sha.repeat(32),
  sizeBytes: 10,
  file: `pool/main/x/${name}_${version}_amd64.deb`,
});

test("the committed lock is in the form that the builder writes", async () => {
  const text = await readFile(LOCK, "utf8");
  assert.equal(formatPackageLock(parsePackageLock(text)), text);
});

test("refuses malformed lines and duplicates by line number", () => {
  const line = "rootfs bash 5.2-1 " + "ab".repeat(32) + " 10 pool/main/b/bash.deb";
  assert.throws(() => parsePackageLock(`${line}\n${line}\n`), /line 2.*twice/);
  assert.throws(() => parsePackageLock(`${line.replace("pool/", "/etc/")}\n`), /line 1/);
  assert.throws(() => parsePackageLock(`${line} extra\n`), /line 1/);
  assert.throws(() => parsePackageLock(line.replace("ab".repeat(32), "AB".repeat(32))), /line 1/);
});

test("names each change between two locks", () => {
  const changes = describeLockChanges([pin("bash", "1"), pin("gone", "1")], [pin("bash", "2", "cd"), pin("new", "3")]);
  assert.deepEqual(changes, ["rootfs bash 1 -> 2", "rootfs gone 1 removed", "rootfs new 3 added"]);
  assert.deepEqual(describeLockChanges([pin("bash", "1")], [pin("bash", "1")]), []);
});

test("reads a package list and leaves out what cannot be pinned", () => {
  const text =
    "Package: bash\nVersion: 5.2\nFilename: pool/b.deb\nSize: 12\nSHA256: aa\nDescription: x\n Package: not-me\n\nPackage: virtual\nVersion: 1\n";
  assert.deepEqual(parsePackages(text), [
    { name: "bash", version: "5.2", sha256: "aa", sizeBytes: 12, file: "pool/b.deb" },
  ]);
});
