import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { z } from "zod";
import { schemaKeys, type SchemaKey, type UnreadKey } from "../../libs/config/src/index.ts";
import { gatewaySchema } from "../../services/gateway/src/config/schema.ts";
import { UNREAD_KEYS as GATEWAY_UNREAD } from "../../services/gateway/src/config/unread-keys.ts";
import { kmsSchema } from "../../services/kms/src/config/schema.ts";
import { UNREAD_KEYS as KMS_UNREAD } from "../../services/kms/src/config/unread-keys.ts";
import { UNREAD_KEYS as VERIFIER_UNREAD, verifierSchema } from "../../services/verifier/src/config.ts";
import { vmmConfigSchema } from "../../services/vmm/src/config/config-schema.ts";
import { UNREAD_KEYS as VMM_UNREAD } from "../../services/vmm/src/config/unread-keys.ts";

/**
 * Prints the tables of configuration keys into the pages of docs/reference, between the markers,
 * from each program's schema. Run: node scripts/docs/config-keys.ts
 */
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const KEYS_MEND = "node scripts/docs/config-keys.ts";
const BEGIN = `<!-- keys: printed by \`${KEYS_MEND}\` from the schema -->`;
const END = "<!-- end of keys -->";

export interface ConfiguredProgram {
  readonly page: string;
  readonly schema: z.ZodType;
  readonly unread: readonly UnreadKey[];
}

export const PROGRAMS: readonly ConfiguredProgram[] = [
  { page: "docs/reference/kms.md", schema: kmsSchema, unread: KMS_UNREAD },
  { page: "docs/reference/gateway.md", schema: gatewaySchema, unread: GATEWAY_UNREAD },
  { page: "docs/reference/vmm.md", schema: vmmConfigSchema, unread: VMM_UNREAD },
  { page: "docs/reference/verifier.md", schema: verifierSchema, unread: VERIFIER_UNREAD },
];

/** The keys that a program acts on. */
export function readKeys({ schema, unread }: ConfiguredProgram): SchemaKey[] {
  return schemaKeys(schema).filter(({ key }) => !unread.some((other) => other.key === key));
}

/** The page as it stands, with the tables as the schema has them. @throws Error where the markers are missing */
export function withKeyTables(program: ConfiguredProgram): string {
  const page = readFileSync(join(ROOT, program.page), "utf8");
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin === -1 || end < begin) throw new Error(`${program.page}: the markers "${BEGIN}" and "${END}" are missing`);
  return page.slice(0, begin + BEGIN.length) + keyTables(program) + page.slice(end);
}

function keyTables(program: ConfiguredProgram): string {
  const rows = readKeys(program).map(
    ({ key, type, default: fallback, required, meaning }) =>
      `| \`${key}\` | ${cell(type)} | ${required ? "must be set" : asDefault(fallback)} | ${cell(meaning)} |`,
  );
  const others = program.unread
    .filter(({ otherwise }) => otherwise !== "silent")
    .map(
      ({ key, otherwise, harmless, why }) =>
        `| \`${key}\` | ${harmless.map((value) => code(value)).join(", ")} | ${otherwise === "refused" ? "refused" : "taken, with a warning"} | ${cell(why)} |`,
    );
  const silent = program.unread.filter(({ otherwise }) => otherwise === "silent").map(({ key }) => `\`${key}\``);
  return [
    "",
    "| Key | Type | Default | Meaning |",
    "|---|---|---|---|",
    ...rows,
    "",
    "Keys of the reference that are not acted on. One of the first column with another value than those of the second is refused or warned of, so that nobody relies on it:",
    "",
    "| Key | Asks for nothing | Otherwise | Why |",
    "|---|---|---|---|",
    ...others,
    "",
    `Taken and without effect, since they tune what is built differently here: ${silent.join(", ")}.`,
    "",
  ].join("\n");
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
const code = (value: unknown): string => `\`${cell(JSON.stringify(value))}\``;

/** A default as the file would say it; a parsed one is described by its key's meaning. */
function asDefault(value: unknown): string {
  if (value === undefined) return "";
  const plain = typeof value !== "object" || JSON.stringify(value).length < 60;
  return plain && !(Array.isArray(value) && value.some((item) => typeof item === "object")) ? code(value) : "";
}

if (import.meta.main) for (const program of PROGRAMS) writeFileSync(join(ROOT, program.page), withKeyTables(program));
