/** Who may boot what: requests, policies, decisions. `@dstack/governance/chain` talks to contracts. */
export { GovernanceError } from "./errors.ts";
export type { GovernanceErrorCode } from "./errors.ts";
export { parseBootInfo } from "./boot-info.ts";
export type { BootInfo, BootKind, Decision, SentBootInfo } from "./boot-info.ts";
export { webhookClient } from "./webhook-client.ts";
export type { WebhookClient, WebhookClientOptions, WebhookDecision, WebhookInfo } from "./webhook-client.ts";
export { askWebhook, askWebhookInfo, FORECAST_LIMIT, hypotheticalBoot } from "./ask-webhook.ts";
export type { WebhookAddress, WebhookAnswer, WebhookSelf } from "./ask-webhook.ts";
export { commandFor } from "./command-for.ts";
export { comparable, DENY_ALL, parseAuthConfig } from "./file-policy/auth-config.ts";
export type { AppRule, AuthConfig, DeviceRule, ReadConfig } from "./file-policy/auth-config.ts";
export { decide } from "./file-policy/decide.ts";
export { readSwitches } from "./file-policy/switches.ts";
export type { Switches } from "./file-policy/switches.ts";
export { changeDocument, parsePolicyDocument } from "./file-policy/policy-document.ts";
export type { PolicyChange, PolicyDocument } from "./file-policy/policy-document.ts";
export { diffDocuments, policyLines } from "./file-policy/policy-difference.ts";
export type { PolicyDifference, PolicyLine, PolicyList } from "./file-policy/policy-difference.ts";
