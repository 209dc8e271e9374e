import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ROOT } from "./workspaces.ts";

const PAGE = "docs/security-findings.md";
const SOURCES = "{libs,services,cli,tests,scripts,bench,contracts,docs,image}/**/*.{ts,mjs,sol,md}";

/** Keys in the form of the page: "#561", "NM #735", "audit 06", "CVE-2025-59054", "D5". */
function keysIn(text: string): string[] {
  const threads = [...text.matchAll(/\b(NM|safeboot|EX|PC) #(\d+)/g)].map(([, of, number]) => `${of} #${number}`);
  const numbers = [...text.matchAll(/(?<=\(|DS |SECURITY |\d, )#(\d{2,4})\b/g)].map(([, number]) => `#${number}`);
  const audit = [...text.matchAll(/\b(?:[Aa]udit(?: row)?|SECURITY|DS) #?(0[0-9a-d])\b/g)].map(
    ([, row]) => `audit ${row}`,
  );
  const listed = [...text.matchAll(/\bSECURITY (D[45])\b/g)].map(([, list]) => list ?? "");
  const published = [...text.matchAll(/\bCVE-\d{4}-\d+/g)].map(([key]) => key);
  return [...threads, ...numbers, ...audit, ...listed, ...published];
}

describe("the keys of security findings", () => {
  const rows = readFileSync(join(ROOT, PAGE), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  const explained = new Set(
    rows.flatMap((row) =>
      [...(row.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)].map(([, key = ""]) => key.replace(/^DS /, "")),
    ),
  );
  const cited = new Map(
    globSync(SOURCES, { cwd: ROOT, exclude: ["**/node_modules/**", "**/gen/**", "**/dist/**"] })
      .filter((file) => file !== PAGE && file !== "tests/security-findings.test.ts")
      .flatMap((file) => keysIn(readFileSync(join(ROOT, file), "utf8")).map((key) => [key, file] as const)),
  );

  test("are read out of names of tests and comments", () => {
    assert.deepEqual(keysIn("refuses it (#561, #619), as DS #1232 and SECURITY #568, D5"), [
      "#561",
      "#619",
      "#1232",
      "#568",
    ]);
    assert.deepEqual(keysIn("audit row 06, audit 01, SECURITY 0d, DS #0b"), [
      "audit 06",
      "audit 01",
      "audit 0d",
      "audit 0b",
    ]);
    assert.deepEqual(keysIn("NM #735, CVE-2025-59054, SECURITY D5, safeboot #139"), [
      "NM #735",
      "safeboot #139",
      "D5",
      "CVE-2025-59054",
    ]);
  });

  test("are each explained in docs/security-findings.md", () => {
    assert.ok(cited.size > 50);
    assert.deepEqual(
      [...cited].filter(([key]) => !explained.has(key)).map(([key, file]) => `${key} in ${file}`),
      [],
    );
  });

  test("say in words what was found and what holds", () => {
    for (const row of rows)
      assert.ok(
        row
          .split("|")
          .slice(2, -1)
          .every((cell) => cell.trim().length > 10),
        row,
      );
  });
});
