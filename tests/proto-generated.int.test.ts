import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./workspaces.ts";

test("the committed protobuf code is what the .proto files generate (mend: see libs/proto/README.md)", () => {
  const folder = mkdtempSync(join(tmpdir(), "dstack-proto-"));
  try {
    cpSync(join(ROOT, "libs/proto"), folder, { recursive: true });
    const result = spawnSync("buf", ["generate"], {
      cwd: folder,
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, PATH: `${join(ROOT, "node_modules/.bin")}:${process.env.PATH ?? ""}` },
    });
    assert.equal(result.status, 0, result.error?.message ?? result.stderr);
    assert.deepEqual(generatedIn(folder), generatedIn(join(ROOT, "libs/proto")));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function generatedIn(folder: string): Map<string, string> {
  const files = globSync("src/gen/**/*.ts", { cwd: folder }).sort();
  assert.ok(files.length > 0);
  return new Map(files.map((file) => [file, readFileSync(join(folder, file), "utf8")]));
}
