import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { POLICY_MEMBERS } from "../../libs/attest/src/index.ts";

/** Prints the members of the policy file into docs/reference/quotes.md, between the markers. Run: node scripts/docs/policy-members.ts */
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const POLICY_PAGE = join(ROOT, "docs/reference/quotes.md");
const BEGIN = "<!-- members: printed by `node scripts/docs/policy-members.ts` from the reader -->";
const END = "<!-- end of members -->";

/** The page as it stands, with the table as the reader has it. @throws Error where the markers are missing */
export function withPolicyMembers(): string {
  const page = readFileSync(POLICY_PAGE, "utf8");
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin === -1 || end < begin) throw new Error(`${POLICY_PAGE}: the markers "${BEGIN}" and "${END}" are missing`);
  const rows = Object.entries(POLICY_MEMBERS).map(
    ([name, [type, meaning]]) => `| \`${name}\` | ${type} | ${meaning} |`,
  );
  const table = ["", "", "| Member | Type | Meaning |", "|---|---|---|", ...rows, "", ""].join("\n");
  return page.slice(0, begin + BEGIN.length) + table + page.slice(end);
}

if (import.meta.main) writeFileSync(POLICY_PAGE, withPolicyMembers());
