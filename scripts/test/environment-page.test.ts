import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const PAGE = "docs/reference/environment.md";

/** How sources read a variable: a member of an environment, a name that is handed on, a prefix. */
const READS = [
  /\benv(?:\.|\[")(DSTACK_[A-Z0-9_]+)/g,
  /\b(?:tokenVariable: |moved\(|[A-Z]+_(?:PREFIX|VARIABLE) = )"(DSTACK_[A-Z0-9_]+)"/g,
];
const TAKEN_APART = /\{([^{}]*)\} = (?:process\.)?env\b/g;

function namesRead(): Set<string> {
  const files = globSync(
    ["{libs,services}/*/{src,test}/**/*.ts", "cli/{src,test}/**/*.ts", "{scripts,bench,tests}/**/*.{ts,mjs}"],
    {
      cwd: ROOT,
    },
  );
  return new Set(
    files.flatMap((file) => {
      const text = readFileSync(join(ROOT, file), "utf8");
      const apart = [...text.matchAll(TAKEN_APART)].flatMap(([, names]) => names?.match(/\bDSTACK_[A-Z0-9_]+/g) ?? []);
      return [...apart, ...READS.flatMap((read) => [...text.matchAll(read)].map(([, name]) => name ?? ""))];
    }),
  );
}

describe("the page of environment variables", () => {
  const page = readFileSync(join(ROOT, PAGE), "utf8");
  // Of the tables alone: the first cell of a row.
  const listed = new Set(
    [...page.matchAll(/^\| ([^|]*) \|/gm)].flatMap(([, cell]) => cell?.match(/DSTACK_[A-Z0-9_]+/g) ?? []),
  );

  test("has every variable that is read", () => {
    const read = namesRead();
    assert.ok(read.size > 15, [...read].join(" "));
    for (const name of read) assert.ok(listed.has(name), `${name} is read and stands not in ${PAGE}: add its row`);
  });

  test("has no variable that nothing reads", () => {
    const read = namesRead();
    for (const name of listed)
      assert.ok(read.has(name), `${name} stands in ${PAGE} and is read nowhere: take its row out`);
  });
});
