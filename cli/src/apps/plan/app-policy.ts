import {
  askWebhook,
  decide,
  diffDocuments,
  policyLines,
  hypotheticalBoot,
  parseAuthConfig,
  readSwitches,
  type PolicyLine,
  type PolicyDocument,
  type WebhookAnswer,
} from "@dstack/governance";
import { explainBoot } from "../../auth/explain-boot.ts";
import { fileBackend } from "../../auth/file-backend.ts";
import { changePolicyFile, localPolicy, readPolicyFile, type Allowance } from "../../auth/policy-file.ts";
import { externalWebhook, WEBHOOK_TIMEOUT_MS } from "../../local/auth-webhook.ts";
import type { StackLayout } from "../../local/layout.ts";

/** Who says what may boot, as a deployment sees it. */
export interface AppPolicy {
  /** A policy that others keep is theirs to change. */
  readonly isOurs: boolean;
  /** The policy as it is; an empty one where others keep it. */
  read(): Promise<PolicyDocument>;
  /** Changes it and gives the differences; none where all was so already. @throws CliError */
  change(change: (policy: PolicyDocument) => PolicyDocument): Promise<readonly PolicyLine[]>;
  /** Whether a version may boot, by `policy` where it is ours to change, else by whoever keeps it. Changes nothing. */
  ask(version: Allowance, policy: PolicyDocument): Promise<WebhookAnswer>;
}

export const differencesOf = (
  policy: PolicyDocument,
  change: (policy: PolicyDocument) => PolicyDocument,
): readonly PolicyLine[] => policyLines(diffDocuments(policy, change(policy)));

/** The policy of the local deployment: its own file, or the webhook that it was started with. */
export async function deploymentPolicy(layout: StackLayout): Promise<AppPolicy> {
  const webhook = await externalWebhook(layout);
  const file = localPolicy(layout);
  if (webhook !== undefined)
    return {
      isOurs: false,
      read: async () => ({}),
      change: async () => [],
      ask: (version) => askWebhook({ url: webhook, timeoutMs: WEBHOOK_TIMEOUT_MS }, "app", hypotheticalBoot(version)),
    };
  return {
    isOurs: true,
    read: () => readPolicyFile(file.path),
    change: (change) => changePolicyFile(file, change),
    ask: async (version, policy) => {
      const boot = hypotheticalBoot(version);
      const { config } = parseAuthConfig(JSON.stringify(policy), readSwitches(file.env));
      const backend = { ...fileBackend(file, false), decide: async () => decide(config, "app", boot) };
      const { isAllowed, reason, rule, field, command } = await explainBoot(backend, { kind: "app", boot });
      return isAllowed ? { kind: "allowed" } : { kind: "denied", reason, rule, field, command };
    },
  };
}
