import { diffDocuments, emptyListNotes, type PolicyChange, type PolicyDifference } from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import { readDocument } from "./diff.ts";
import { makeChanges } from "./make-changes.ts";
import type { AuthImportOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth import`: allows what the file lists, takes nothing away, and says where its words mean less here. */
export async function authImport(cli: Cli, file: string, options: AuthImportOptions): Promise<void> {
  const wanted = await readDocument(file);
  for (const note of emptyListNotes(wanted)) cli.out.say(note);
  const backend = await selectBackend(cli, options);
  const additions = diffDocuments(await backend.document(), wanted).flatMap(additionOf);
  await makeChanges(cli, backend, additions, options.output);
}

/** The change that a difference adds; none for what it takes away. */
function additionOf(difference: PolicyDifference): readonly PolicyChange[] {
  switch (difference.kind) {
    case "gateway":
      return difference.after === undefined || difference.after === ""
        ? []
        : [{ kind: "gateway", value: difference.after }];
    case "empty-list":
    case "kms-any-device":
      return [];
    default:
      return difference.isAllowed ? [difference] : [];
  }
}
