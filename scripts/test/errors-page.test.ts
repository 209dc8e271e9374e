import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ERRORS_PAGE, errorTables, errorsPage } from "../docs/errors-page.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

describe("the page of error codes", () => {
  test("is what the tables print", async () => {
    assert.equal(
      readFileSync(join(ROOT, ERRORS_PAGE), "utf8"),
      await errorsPage(),
      `${ERRORS_PAGE} is not what the tables say; run: node scripts/docs/errors-page.ts`,
    );
  });

  test("says of each code in words what it means", async () => {
    const tables = await errorTables();
    assert.ok(tables.length > 20);
    for (const { folder, table } of tables) {
      for (const [code, meaning] of Object.entries(table)) {
        assert.match(code, /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/, folder);
        assert.match(meaning, /^[^|\n]{10,120}[^.]$/, `${folder}: ${code}`);
      }
    }
  });

  test("has the codes of every coded error: none is typed beside the tables", () => {
    const beside = globSync(["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts"], { cwd: ROOT }).filter((file) =>
      /extends CodedError<(?!\w+ErrorCode>)(?!Code)/.test(readFileSync(join(ROOT, file), "utf8")),
    );
    assert.deepEqual(beside, []);
  });
});
