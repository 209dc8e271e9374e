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
    for (const { folder, name, table } of tables) {
      for (const [code, row] of Object.entries(table)) {
        const meaning = typeof row === "string" ? row : row.meaning;
        // Rules may be called after the field of the wire that they look at.
        assert.match(code, name.endsWith("RULES") ? /^[a-z][A-Za-z -]+$/ : /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/, folder);
        assert.match(meaning, /^[^|\n]{10,120}[^.]$/, `${folder}: ${code}`);
      }
    }
  });

  test("has no code that its package never uses", async () => {
    const unused: string[] = [];
    for (const { folder, table } of await errorTables()) {
      const texts = globSync(`${folder}/src/**/*.ts`, { cwd: ROOT })
        .filter((file) => !file.endsWith("/src/errors.ts"))
        .map((file) => readFileSync(join(ROOT, file), "utf8"));
      for (const code of Object.keys(table))
        if (!texts.some((text) => text.includes(`"${code}"`))) unused.push(`${folder}: ${code}`);
    }
    assert.deepEqual(unused, [
      // Put together in judgement.ts from what is out of its time and on which side.
      "libs/attest: certificate-expired",
      "libs/attest: certificate-not-yet-valid",
      "libs/attest: collateral-expired",
      "libs/attest: collateral-not-yet-valid",
      // Services say it of their callers.
      "libs/rpc: unauthenticated",
    ]);
  });

  test("has the codes of every coded error: none is typed beside the tables", () => {
    const beside = globSync(["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts"], { cwd: ROOT }).filter((file) =>
      /extends CodedError<(?!\w+ErrorCode>)(?!Code)/.test(readFileSync(join(ROOT, file), "utf8")),
    );
    assert.deepEqual(beside, []);
  });
});
