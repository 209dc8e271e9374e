import {
  diffDocuments,
  emptyListNotes,
  type PolicyChange,
  type PolicyDifference,
  type PolicyDocument,
} from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import { visible } from "../terminal/output.ts";
import { readDocument } from "./diff.ts";
import { makeChanges } from "./make-changes.ts";
import type { AuthImportOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth import`: allows what the file lists, takes nothing away, and says where its words mean less here. */
export async function authImport(cli: Cli, file: string, options: AuthImportOptions): Promise<void> {
  const wanted = await readDocument(file);
  for (const note of emptyListNotes(wanted)) cli.out.say(note);
  const backend = await selectBackend(cli, options);
  const differences = diffDocuments(await backend.document(), wanted);
  for (const note of [...leftOut(wanted), ...differences.flatMap(notTakenOver)]) cli.out.say(note);
  const additions = differences.flatMap(additionOf);
  await makeChanges(cli, backend, additions, options.output);
}

const READ_KEYS = ["gatewayAppId", "osImages", "allowedTcbStatuses", "allowedAdvisoryIds", "kms", "apps"];

/** Members that mean nothing to a policy here. */
const leftOut = (wanted: PolicyDocument): readonly string[] =>
  Object.keys(wanted)
    .filter((key) => !READ_KEYS.includes(key))
    .map((key) => `${visible(key)} means nothing to a policy here and is not taken over`);

/** What the file allows and no command may. */
function notTakenOver(difference: PolicyDifference): readonly string[] {
  return difference.kind === "kms-any-device" && difference.isAllowed
    ? ["kms.allowAnyDevice is not taken over: any device may then run a KMS; edit the policy where that is meant"]
    : [];
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
