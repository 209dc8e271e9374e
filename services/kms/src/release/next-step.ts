import { commandFor, type BootInfo, type BootKind } from "@dstack/governance";
import { KMS_RULES, type KmsRule } from "../errors.ts";

/**
 * What the operator types next about a refusal: where the auth server named rule and field, the command that changes
 * its list; else the step of our own rule. Evidence whose parser refused it (the rule is the parser's code) is evidence
 * like any other. Pure.
 *
 * @param boot what the auth server was told; undefined where nobody was asked
 */
export function nextStep(
  kind: BootKind,
  { rule, field }: { readonly rule: string; readonly field: string },
  boot: BootInfo | undefined,
): string {
  if (boot !== undefined) {
    const command = commandFor(kind, { rule, field }, boot);
    return command === undefined ? KMS_RULES["auth api"].next : `\`dstack auth ${command}\``;
  }
  return KMS_RULES[Object.hasOwn(KMS_RULES, rule) ? (rule as KmsRule) : "evidence"].next;
}
