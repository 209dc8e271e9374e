import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { chooseKinds, filesOf, kindOf, ROOT } from "../test-kinds.ts";
import { exitCodeOf } from "../test-report.ts";

describe("the test run", () => {
  test("succeeds only where something passed, nothing failed and nothing was skipped", () => {
    assert.equal(exitCodeOf({ passed: 3, failed: 0, skipped: 0 }), 0);
    assert.equal(exitCodeOf({ passed: 3, failed: 0, skipped: 1 }), 1, "a skip is no success");
    assert.equal(exitCodeOf({ passed: 3, failed: 1, skipped: 0 }), 1);
    assert.equal(exitCodeOf({ passed: 0, failed: 0, skipped: 0 }), 1, "no test is no success");
  });

  test("runs every usual kind unless some are named, and long tests only by name", () => {
    const usual = ["types", "layout", "lint", "unit", "image", "int", "e2e"];
    assert.deepEqual(chooseKinds([], undefined), usual);
    assert.deepEqual(chooseKinds([], ""), usual);
    assert.deepEqual(chooseKinds([], "int,unit"), ["unit", "int"]);
    assert.deepEqual(chooseKinds(["long"], "int"), ["long"]);
  });

  test("names the kinds that there are where one is asked for that does not exist", () => {
    assert.match(String(chooseKinds(["units"], undefined)), /no kind of test called units; there are types, .*long/);
  });

  test("knows a file's kind by its name, and has each test file in one kind", () => {
    assert.deepEqual(["a.test.ts", "a.prop.test.ts", "a.int.test.ts", "a.e2e.test.ts", "a.long.test.ts"].map(kindOf), [
      "unit",
      "unit",
      "int",
      "e2e",
      "long",
    ]);
    assert.ok(filesOf("unit").includes(import.meta.filename));
    assert.ok(filesOf("e2e").length >= 3);
  });

  test("is what the scripts of package.json run", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    for (const name of ["start", "test", "test:long", "types", "lint", "format", "unit", "watch", "docs"])
      assert.match(scripts[name] ?? "", /^node -- scripts\/bootstrap\.mjs (?:start|test|develop)/, name);
    assert.match(scripts["test:long"] ?? "", / test long$/);
  });
});
