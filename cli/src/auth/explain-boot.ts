import { commandFor, type BootInfo, type Decision } from "@dstack/governance";
import type { AuthBackend } from "./backend.ts";
import type { BootRequest } from "./boot-request.ts";

/** A decision with what a person can do about it. */
export interface Explanation {
  readonly isAllowed: boolean;
  readonly reason: string;
  readonly rule: string;
  readonly field: string;
  readonly value: string;
  /** What was read, e.g. a block. */
  readonly basis: string;
  /** The command that would change the decision; undefined where there is none to give. */
  readonly command: string | undefined;
  readonly advice: string;
}

/** Asks a backend about a boot, without changing anything. */
export async function explainBoot(backend: AuthBackend, { kind, boot }: BootRequest): Promise<Explanation> {
  const decision = await backend.decide(kind, boot);
  const basis = decision.basis ?? backend.name;
  if (decision.isAllowed)
    return { isAllowed: true, reason: "", rule: "", field: "", value: "", basis, command: undefined, advice: "" };
  const { reason, rule, field } = decision;
  const command = commandFor(kind, decision, boot);
  return {
    isAllowed: false,
    reason,
    rule,
    field,
    basis,
    value: [boot[field]].flat().join(", "),
    command: command === undefined ? undefined : `dstack auth ${command}${backend.selector}`,
    advice: platformAdvice(decision, boot) ?? (command === undefined ? `ask whoever governs it: ${rule}` : ""),
  };
}

/** What to do about the platform itself, before or instead of taking it as it is. Undefined where it is not what was refused. */
function platformAdvice(
  { field }: Extract<Decision, { readonly isAllowed: false }>,
  { tcbStatus }: BootInfo,
): string | undefined {
  if (field !== "tcbStatus" && field !== "advisoryIds") return undefined;
  switch (tcbStatus) {
    case "UpToDate":
      return "the platform is up to date: there is nothing to install against these advisories; read what they say before you take them";
    case "SWHardeningNeeded":
      return "the platform is up to date; what its advisories tell is left to the software in the VM";
    case "ConfigurationNeeded":
    case "ConfigurationAndSWHardeningNeeded":
      return "the platform is up to date; its BIOS settings are not as the advisories ask for";
    case "OutOfDate":
    case "OutOfDateConfigurationNeeded":
      return "update the platform; `dstack tcb status` says what is short and what raises it";
    case "Revoked":
      return "Intel revoked this platform's TCB: update it; no KMS takes it as it is";
    default:
      return `the platform's status is not one that Intel gives: ${tcbStatus}`;
  }
}
