import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const PAGE = "docs/reference/environment.md";

/** How sources read a variable: a member of an environment, a name that is handed on, a prefix. */
const READS = [
  /\benv(?:\.|\[")([A-Z][A-Z0-9_]+)/g,
  /\b(?:tokenVariable: |moved\(|(?:whole|flag)\(env, |[A-Z]+_(?:PREFIX|VARIABLE) = )"([A-Z][A-Z0-9_]+)"/g,
];
const TAKEN_APART = /\{([^{}]*)\} = (?:process\.)?env\b/g;
/** What every program of the system has, or its tests hand on. */
const USUAL = new Set(["PATH", "HOME", "TMPDIR"]);
/** Of what only tests read, ours alone: the others stand in for a shell's. */
const PROGRAMS = ["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts", "{scripts,bench}/**/*.{ts,mjs}"];
const TESTS = ["{libs,services}/*/test/**/*.ts", "cli/test/**/*.ts", "tests/**/*.ts"];

function namesRead(): Set<string> {
  const names = (patterns: string[]): string[] =>
    globSync(patterns, { cwd: ROOT, exclude: ["scripts/test/**", "**/node_modules/**"] }).flatMap((file) => {
      const text = readFileSync(join(ROOT, file), "utf8");
      const apart = [...text.matchAll(TAKEN_APART)].flatMap(
        ([, members]) => members?.match(/\b[A-Z][A-Z0-9_]{2,}\b/g) ?? [],
      );
      return [...apart, ...READS.flatMap((read) => [...text.matchAll(read)].map(([, name]) => name ?? ""))];
    });
  return new Set([
    ...names(PROGRAMS).filter((name) => !USUAL.has(name)),
    ...names(TESTS).filter((name) => name.startsWith("DSTACK_")),
  ]);
}

describe("the page of environment variables", () => {
  const page = readFileSync(join(ROOT, PAGE), "utf8");
  // Of the tables alone: the first cell of a row.
  const listed = new Set(
    [...page.matchAll(/^\| ([^|]*) \|/gm)].flatMap(([, cell]) => cell?.match(/\b[A-Z][A-Z0-9_]+/g) ?? []),
  );

  test("has every variable that is read", () => {
    const read = namesRead();
    assert.ok(read.size > 35, [...read].join(" "));
    for (const name of read) assert.ok(listed.has(name), `${name} is read and stands not in ${PAGE}: add its row`);
  });

  test("has no variable that nothing reads", () => {
    const read = namesRead();
    for (const name of listed)
      assert.ok(read.has(name), `${name} stands in ${PAGE} and is read nowhere: take its row out`);
  });
});
