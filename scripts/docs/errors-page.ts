import { globSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ErrorTable } from "@dstack/errors";

/**
 * Prints docs/reference/errors.md from the tables of codes in every errors.ts. A table is an
 * exported constant whose name ends in ERRORS, FAILURES or RULES. Run: node scripts/docs/errors-page.ts
 */
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const ERRORS_PAGE = "docs/reference/errors.md";

const HEAD = `# Errors

Every error that our programs foresee has a \`code\`. The code is stable: match on it, never on the text, which is for people and may change. Besides the text an error may carry \`facts\`, by name, and its \`cause\`. Daemons that refuse have a column of what to do next; their logs carry it as \`next\`.

This page is printed by \`node scripts/docs/errors-page.ts\`; the tables are in each package's \`errors.ts\`.
`;

/** What a table's section is called behind its folder. */
const TITLES = [
  ["FAILURES", ": why a check fails"],
  ["RULES", ": rules that refuse"],
  ["ERRORS", ""],
] as const;

export interface NamedTable {
  /** Folder of the package, e.g. "libs/bytes". */
  readonly folder: string;
  /** Name of the constant, e.g. "BYTES_ERRORS". */
  readonly name: string;
  readonly table: ErrorTable;
}

/** Every table of the repository, packages in the order of their folders. */
export async function errorTables(): Promise<NamedTable[]> {
  const files = globSync(["libs/*/src/errors.ts", "services/*/src/errors.ts", "cli/src/terminal/errors.ts"], {
    cwd: ROOT,
  }).sort();
  const tables: NamedTable[] = [];
  for (const file of files) {
    const module = (await import(join(ROOT, file))) as Record<string, unknown>;
    const folder = file.replace(/\/src\/.*$/, "");
    for (const [name, table] of Object.entries(module)) {
      if (/^[A-Z_]*(ERRORS|FAILURES|RULES)$/.test(name)) tables.push({ folder, name, table: table as ErrorTable });
    }
  }
  return tables;
}

/** The page's whole text. */
export async function errorsPage(): Promise<string> {
  const sections = (await errorTables()).map(({ folder, name, table }) => {
    const [, title = ""] = TITLES.find(([ending]) => name.endsWith(ending)) ?? [];
    const hasNext = Object.values(table).some((row) => typeof row !== "string");
    const rows = Object.entries(table).map(([code, row]) =>
      typeof row === "string" ? `| \`${code}\` | ${row} |` : `| \`${code}\` | ${row.meaning} | ${row.next} |`,
    );
    const head = hasNext
      ? ["| Code | Meaning | What to do next |", "|---|---|---|"]
      : ["| Code | Meaning |", "|---|---|"];
    return [`\n## ${folder}${title}\n`, ...head, ...rows, ""].join("\n");
  });
  return HEAD + sections.join("");
}

if (import.meta.main) writeFileSync(join(ROOT, ERRORS_PAGE), await errorsPage());
