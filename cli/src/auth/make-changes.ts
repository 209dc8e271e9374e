import {
  changeDocument,
  diffDocuments,
  policyLines,
  type PolicyChange,
  type PolicyDifference,
} from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import { visible } from "../terminal/output.ts";
import type { AuthBackend } from "./backend.ts";

/** Shows what will change, changes it, shows what came of it. */
export async function makeChanges(
  { out }: Cli,
  backend: AuthBackend,
  changes: readonly PolicyChange[],
  output: "text" | "json",
): Promise<void> {
  const before = await backend.document();
  const differences = diffDocuments(before, changes.reduce(changeDocument, before));
  if (differences.length === 0) {
    if (output === "json") out.json({ changes: [], result: "nothing to change" });
    else out.print(`nothing to change: it is so already in ${visible(backend.name)}`);
    return;
  }
  if (output === "text") out.print(`${visible(backend.name)}\n${differenceText(differences)}`);
  const result = await backend.apply(changes);
  if (output === "json") out.json({ changes: policyLines(differences), result: result.join("\n") });
  else out.print(result.map(visible).join("\n"));
}

/** One line each, as a person compares them. */
export const differenceText = (differences: readonly PolicyDifference[]): string =>
  policyLines(differences)
    .map(({ sign, path, value }) => `${sign} ${visible(path)} ${visible(value)}`)
    .join("\n");
