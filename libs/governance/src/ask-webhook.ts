import { z } from "zod";
import { errorChain, excerpt } from "@dstack/errors";
import type { BootInfo, BootKind } from "./boot-info.ts";
import { boundedFetch } from "./bounded-fetch.ts";
import { commandFor } from "./command-for.ts";

export interface WebhookAddress {
  /** Base address, http or https. */
  readonly url: string;
  /** For everything, from the connection to the last byte. */
  readonly timeoutMs: number;
}

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

/** What a webhook says of itself. */
export interface WebhookInfo {
  /** Which gateway apps trust: ids with commas between them, `any`, or nothing. */
  readonly gatewayAppId: string;
  /** The options of `dstack auth` that select the contract where one decides; empty for other policies. */
  readonly selector: string;
}

const MAX_ANSWER_BYTES = 64 * 1024;

const decisionSchema = z.object({
  isAllowed: z.boolean(),
  reason: z.string(),
  gatewayAppId: z.string(),
  rule: z.string().default(""),
  field: z.string().default(""),
});
const infoSchema = z.object({
  status: z.string(),
  gatewayAppId: z.string(),
  kmsContractAddr: z.string(),
  ethRpcUrl: z.string().default(""),
});

/** Asks about a boot, once. Nothing is changed there, but its log has a line about it as about every question. */
export async function askWebhook(webhook: WebhookAddress, kind: BootKind, boot: BootInfo): Promise<WebhookAnswer> {
  const answer = await ask(webhook, `/bootAuth/${kind}`, decisionSchema, JSON.stringify(boot));
  if (typeof answer === "string") return { kind: "no-answer", reason: answer };
  const { isAllowed, reason, rule, field } = answer;
  if (isAllowed) return { kind: "allowed" };
  const change = commandFor(kind, { rule, field }, boot);
  const info = change === undefined ? "" : await askWebhookInfo(webhook);
  const command =
    change === undefined ? undefined : `dstack auth ${change}${typeof info === "string" ? "" : info.selector}`;
  return {
    kind: "denied",
    reason: excerpt(reason) || "no reason was given",
    rule: excerpt(rule),
    field: excerpt(field),
    command,
  };
}

/** What the webhook tells about itself; a text says why it tells nothing. */
export async function askWebhookInfo(webhook: WebhookAddress): Promise<WebhookInfo | string> {
  const answer = await ask(webhook, "/", infoSchema, undefined);
  if (typeof answer === "string") return answer;
  return { gatewayAppId: excerpt(answer.gatewayAppId), selector: selectorOf(answer) };
}

/** A boot as it would be asked about, had the VM been started: what only a running VM has is zero. */
export function hypotheticalBoot(app: {
  readonly appId: string;
  readonly composeHash: string;
  readonly osImageHash: string;
  readonly deviceId: string;
}): BootInfo {
  return {
    ...app,
    instanceId: "00".repeat(20),
    mrAggregated: "00".repeat(32),
    mrSystem: "00".repeat(32),
    tcbStatus: "UpToDate",
    advisoryIds: [],
    teeVariant: "dstack-tdx",
  };
}

/** People copy this into a shell, so it is taken in one form only. */
function selectorOf({ kmsContractAddr, ethRpcUrl }: z.output<typeof infoSchema>): string {
  const isPlain =
    /^0x[0-9a-fA-F]{40}$/.test(kmsContractAddr) &&
    /^https?:\/\/[\w.:[\]-]+(?:,https?:\/\/[\w.:[\]-]+)*$/.test(ethRpcUrl);
  return isPlain ? ` --contract ${kmsContractAddr} --rpc ${ethRpcUrl}` : "";
}

async function ask<T>(
  { url, timeoutMs }: WebhookAddress,
  path: string,
  schema: z.ZodType<T>,
  body: string | undefined,
): Promise<T | string> {
  let status: number;
  let text: string;
  try {
    const response = await boundedFetch(MAX_ANSWER_BYTES)(`${url.replace(/\/+$/, "")}${path}`, {
      ...(body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    status = response.status;
    text = await response.text();
  } catch (error) {
    return `the webhook could not be asked: ${excerpt(errorChain(error))}`;
  }
  if (status !== 200) return `the webhook answered ${status}, expected 200: ${excerpt(text)}`;
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
    return `the webhook's answer has another form than expected: ${excerpt(z.prettifyError(parsed.error))}`;
  } catch {
    return `the webhook's answer is no JSON: ${excerpt(text)}`;
  }
}
