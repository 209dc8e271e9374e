import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CLI_PAGE, cliPage } from "../docs/cli-reference.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

describe("the page of the command line", () => {
  test("is what the program says of itself", () => {
    assert.equal(
      readFileSync(join(ROOT, CLI_PAGE), "utf8"),
      cliPage(),
      `${CLI_PAGE} is not what the program says; run: node scripts/docs/cli-reference.ts`,
    );
  });

  test("has commands with their options, defaults and examples", () => {
    const page = cliPage();
    assert.match(page, /^## dstack kms share open$/m);
    assert.match(page, /^\| `-c, --compose <file>` \| must be given \|/m);
    assert.match(page, /^\| `-o, --output <format>` \| `text` \| .*\(`text`, `json`\) \|$/m);
    assert.match(page, /^dstack auth show --contract /m);
  });
});
