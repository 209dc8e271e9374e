import { attempt, excerpt } from "@dstack/errors";
import type { BootKind, SentBootInfo } from "./boot-info.ts";
import { commandFor } from "./command-for.ts";
import { webhookClient, type WebhookClient, type WebhookClientOptions, type WebhookInfo } from "./webhook-client.ts";

const USER_AGENT = "dstack";
const NO_MEASUREMENT = "00".repeat(48);

/** Where to ask, and how to know each other. */
export type WebhookAddress = Pick<WebhookClientOptions, "url" | "timeoutMs" | "bearerToken" | "ca" | "answerKeys">;

/** What a webhook says of a boot, or why it says nothing. */
export type WebhookAnswer =
  | { readonly kind: "allowed" }
  /**
   * `rule` and `field` are empty where the webhook does not say what decided; `command` is what would change it,
   * to be run where the policy is kept, undefined where there is none to give.
   */
  | {
      readonly kind: "denied";
      readonly reason: string;
      readonly rule: string;
      readonly field: string;
      readonly command: string | undefined;
    }
  | { readonly kind: "no-answer"; readonly reason: string };

/** What a webhook says of itself, for who is to change its policy. */
export interface WebhookSelf {
  /** Which gateway apps trust: ids with commas between them, `any`, or nothing. */
  readonly gatewayAppId: string;
  /** The options of `dstack auth` that select the contract where one decides; empty for other policies. */
  readonly selector: string;
  /** Why its policy is not what its operator wrote last; empty where it is. */
  readonly configError: string;
}

/** Asks about a boot, once, as a KMS asks. Nothing is changed there, but its log has a line about it as about every question. */
export async function askWebhook(webhook: WebhookAddress, kind: BootKind, boot: SentBootInfo): Promise<WebhookAnswer> {
  const asked = await attempt(() => client(webhook).bootAuth(kind, boot));
  if (!asked.ok) return { kind: "no-answer", reason: asked.error.message };
  const decision = asked.value;
  if (decision.kind === "allowed") return { kind: "allowed" };
  const { reason, rule = "", field = "" } = decision;
  const change = commandFor(kind, { rule, field }, boot);
  const self = change === undefined ? "" : await askWebhookInfo(webhook);
  const command =
    change === undefined ? undefined : `dstack auth ${change}${typeof self === "string" ? "" : self.selector}`;
  return { kind: "denied", reason: reason || "no reason was given", rule, field, command };
}

/** What the webhook tells about itself; a text says why it tells nothing. */
export async function askWebhookInfo(webhook: WebhookAddress): Promise<WebhookSelf | string> {
  const asked = await attempt(() => client(webhook).info());
  if (!asked.ok) return asked.error.message;
  return {
    gatewayAppId: excerpt(asked.value.gatewayAppId),
    selector: selectorOf(asked.value),
    configError: asked.value.configError,
  };
}

const client = (webhook: WebhookAddress): WebhookClient => webhookClient({ ...webhook, userAgent: USER_AGENT });

/** What no forecast knows: an "allowed" about a hypothetical boot holds for a platform such as is made up there. */
export const FORECAST_LIMIT =
  "whether the policy takes the platform's TCB status and advisories: its quote says them when the VM boots; asked about was UpToDate, without any";

/** A boot as it would be asked about, had the VM been started: what only a running VM has is zero. */
export function hypotheticalBoot(app: {
  readonly appId: string;
  readonly composeHash: string;
  readonly osImageHash: string;
  readonly deviceId: string;
}): SentBootInfo {
  return {
    ...app,
    instanceId: "00".repeat(20),
    mrAggregated: "00".repeat(32),
    mrSystem: "00".repeat(32),
    tcbStatus: "UpToDate",
    advisoryIds: [],
    teeVariant: "dstack-tdx",
    attestationMode: "dstack-tdx",
    mrtd: NO_MEASUREMENT,
    rtmr0: NO_MEASUREMENT,
    rtmr1: NO_MEASUREMENT,
    rtmr2: NO_MEASUREMENT,
    rtmr3: NO_MEASUREMENT,
    keyProviderInfo: "",
  };
}

/** People copy this into a shell, so it is taken in one form only. */
function selectorOf({ kmsContractAddr, ethRpcUrl }: WebhookInfo): string {
  const isPlain =
    /^0x[0-9a-fA-F]{40}$/.test(kmsContractAddr) &&
    /^https?:\/\/[\w.:[\]-]+(?:,https?:\/\/[\w.:[\]-]+)*$/.test(ethRpcUrl);
  return isPlain ? ` --contract ${kmsContractAddr} --rpc ${ethRpcUrl}` : "";
}
