import type { PolicyLine } from "@dstack/governance";
import { allowedVersions, allowVersion, type Allowance } from "../../auth/policy-file.ts";
import { CliError } from "../../terminal/errors.ts";
import { differencesOf, type AppPolicy, type PolicyAnswer } from "./app-policy.ts";
import type { PermissionRequest } from "./request.ts";

export interface PermissionPlan {
  readonly version: Allowance;
  /** Whether the policy will be changed to allow this version. */
  readonly allows: boolean;
  /** Compose hashes, hex, that the app may boot with as the policy is. */
  readonly allowedNow: readonly string[];
  /** What the policy would be changed by; none where it is others' or is left alone. */
  readonly differences: readonly PolicyLine[];
  /** The answer of the policy as it would be then; undefined where it is not asked. */
  readonly decision: PolicyAnswer | undefined;
}

/** What has to be allowed for a version to boot, and whether it is then. Changes nothing. */
export async function planPermission(
  version: Allowance,
  { allow, check }: PermissionRequest,
  policy: AppPolicy,
): Promise<PermissionPlan> {
  const present = await policy.read();
  const allows = allow && policy.isOurs;
  const wanted = allows ? allowVersion(present, version) : present;
  return {
    version,
    allows,
    allowedNow: allowedVersions(present, version.appId).map((hash) => hash.slice(2)),
    differences: allows ? differencesOf(present, (document) => allowVersion(document, version)) : [],
    decision: check ? await policy.ask(version, wanted) : undefined,
  };
}

/** What the policy says, where it was asked. @throws CliError `denied`, or `failed` where nobody says anything */
export function requireAllowed({ decision: answer }: PermissionPlan): void {
  if (answer === undefined || answer.kind === "allowed") return;
  if (answer.kind === "no-answer")
    throw new CliError("failed", `it is not known whether this version may boot: ${answer.reason}`, {
      hint: "nothing was deployed; --no-check deploys without asking first",
    });
  const { reason, rule, field, command } = answer;
  const why = rule === "" ? "" : ` (rule ${rule}, field ${field})`;
  throw new CliError("denied", `this version may not boot: ${reason}${why}`, {
    hint: `nothing was deployed${command === undefined ? "" : `; to allow it: ${command}`}`,
  });
}
