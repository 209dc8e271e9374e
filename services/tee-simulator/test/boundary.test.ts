import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../../..");

// DS #563: the simulator is a package of its own, and nothing that runs in production can reach it.
test("is imported by no production code", () => {
  const sources = globSync(["libs/*/src/**/*.ts", "services/*/src/**/*.ts", "cli/src/**/*.ts"], { cwd: root })
    .filter((path) => !path.startsWith("services/tee-simulator/"));
  assert.ok(sources.length > 20);
  const importers = sources.filter((path) => /(?:from|import)\s*\(?\s*["'][^"']*tee-simulator/.test(readFileSync(resolve(root, path), "utf8")));
  assert.deepEqual(importers, []);
});
