import {
  askWebhook,
  decide,
  diffDocuments,
  policyLines,
  hypotheticalBoot,
  parseAuthConfig,
  readSwitches,
  askWebhookInfo,
  comparable,
  type PolicyLine,
  type PolicyDocument,
  type WebhookAnswer,
} from "@dstack/governance";
import { explainBoot } from "../../auth/explain-boot.ts";
import { fileBackend } from "../../auth/file-backend.ts";
import { changePolicyFile, localPolicy, readPolicyFile, type Allowance } from "../../auth/policy-file.ts";
import { askedAs, externalWebhook, type ChosenWebhook } from "../../local/auth-webhook.ts";
import type { StackLayout } from "../../local/layout.ts";

/** What is said of a version, and by what. */
export type PolicyAnswer =
  | {
      readonly kind: "allowed";
      /** The entry that decides; empty where whoever decides does not say. */
      readonly rule: string;
      /** The policy's file, or the webhook with the options of `dstack auth` that select its contract. */
      readonly by: string;
    }
  | Exclude<WebhookAnswer, { readonly kind: "allowed" }>;

/** The entry of a policy file that a version boots by. */
export const ruleFor = ({ appId }: Allowance): string => `apps.${comparable(appId)}.composeHashes`;

/** Who says what may boot, as a deployment sees it. */
export interface AppPolicy {
  /** A policy that others keep is theirs to change. */
  readonly isOurs: boolean;
  /** The policy as it is; an empty one where others keep it. */
  read(): Promise<PolicyDocument>;
  /** Changes it and gives the differences; none where all was so already. @throws CliError */
  change(change: (policy: PolicyDocument) => PolicyDocument): Promise<readonly PolicyLine[]>;
  /** Whether a version may boot, by `policy` where it is ours to change, else by whoever keeps it. Changes nothing. */
  ask(version: Allowance, policy: PolicyDocument): Promise<PolicyAnswer>;
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
      ask: (version) => askOthers(webhook, version),
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
      return isAllowed
        ? { kind: "allowed", rule: ruleFor(version), by: file.path }
        : { kind: "denied", reason, rule, field, command };
    },
  };
}

async function askOthers(chosen: ChosenWebhook, version: Allowance): Promise<PolicyAnswer> {
  const webhook = askedAs(chosen);
  const answer = await askWebhook(webhook, "app", hypotheticalBoot(version));
  if (answer.kind !== "allowed") return answer;
  const self = await askWebhookInfo(webhook);
  return { kind: "allowed", rule: "", by: `${chosen.url}${typeof self === "string" ? "" : self.selector}` };
}
