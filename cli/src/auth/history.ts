import type { Cli } from "../clients/cli.ts";
import { table, visible } from "../terminal/output.ts";
import type { AuthHistoryOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth history`: 3 where it cannot be relied on. */
export async function authHistory(cli: Cli, { signedBy, output, ...options }: AuthHistoryOptions): Promise<number> {
  const { json, print, say } = cli.out;
  const backend = await selectBackend(cli, options);
  const { lines: entries, broken } = await backend.history(signedBy);
  if (output === "json")
    json({
      entries: entries.map(({ what, ...entry }) => ({ ...entry, what: what.join("\n") })),
      broken: broken ?? null,
    });
  else
    print(
      entries.length === 0
        ? "no changes yet"
        : table(
            ["WHEN", "WHO", "WHAT"],
            entries.flatMap(({ at, by, what }) =>
              what.map((line, index) => (index === 0 ? [at, by, line] : ["", "", line])),
            ),
          ),
    );
  if (broken !== undefined) say(`broken: ${visible(broken)}`);
  return broken === undefined ? 0 : 3;
}
