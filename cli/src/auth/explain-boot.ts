import { commandFor, type Decision } from "@dstack/governance";
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
    advice: command === undefined ? adviceFor(decision) : "",
  };
}

function adviceFor({ rule, field }: Extract<Decision, { readonly isAllowed: false }>): string {
  if (field === "tcbStatus")
    return "update the platform's firmware, or accept this status in allowedTcbStatuses (files) or by `dstack auth require-tcb <app> off` (apps of contracts)";
  if (field === "advisoryIds") return "update the platform's firmware, or accept the advisories in allowedAdvisoryIds";
  return `ask whoever governs it: ${rule}`;
}
