import { readFile } from "node:fs/promises";
import {
  diffDocuments,
  GovernanceError,
  parsePolicyDocument,
  policyLines,
  type PolicyChange,
  type PolicyDifference,
  type PolicyDocument,
} from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { differenceText, makeChanges } from "./make-changes.ts";
import type { AuthDiffOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth diff`: 0 where both say the same, 3 where not. */
export async function authDiff(cli: Cli, file: string, options: AuthDiffOptions): Promise<number> {
  const { json, print } = cli.out;
  const backend = await selectBackend(cli, options);
  const differences = diffDocuments(await backend.document(), await readDocument(file));
  if (options.apply === true && differences.length > 0) {
    await makeChanges(cli, backend, differences.flatMap(changesFor), options.output);
    return 0;
  }
  if (options.output === "json") json(policyLines(differences));
  else print(differences.length === 0 ? "no difference" : differenceText(differences));
  return differences.length === 0 ? 0 : 3;
}

/** The changes that make a difference go away: itself, for most. */
function changesFor(difference: PolicyDifference): readonly PolicyChange[] {
  switch (difference.kind) {
    case "gateway":
      return [{ kind: "gateway", value: difference.after ?? "" }];
    case "empty-list":
      // What a list holds says more than that it is there.
      return [];
    case "kms-any-device":
      throw new CliError("failed", "kms.allowAnyDevice cannot be changed by a command", { hint: "edit the file" });
    default:
      return [difference];
  }
}

/** @throws CliError `not-found`, `failed` */
export async function readDocument(file: string): Promise<PolicyDocument> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new CliError("not-found", `${file} cannot be read`, { cause });
  });
  try {
    return parsePolicyDocument(text);
  } catch (cause) {
    if (cause instanceof GovernanceError) throw new CliError("failed", `${file}: ${cause.message}`, { cause });
    throw cause;
  }
}
