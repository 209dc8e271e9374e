import { mkdir, readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parseJson } from "@dstack/bytes";
import { asRefusal } from "@dstack/errors";
import { readTextIfExists, removeIfExists, writeJsonAtomic } from "@dstack/files";
import { askWebhookInfo, type WebhookAddress } from "@dstack/governance";
import { answerKey } from "@dstack/governance/answers";
import { CliError } from "../terminal/errors.ts";
import type { StackLayout } from "./layout.ts";

/** How long a question to a webhook may take. */
const WEBHOOK_TIMEOUT_MS = 10_000;

/** The webhook that the local deployment asks, and how the two know each other. */
export interface ChosenWebhook {
  readonly url: string;
  /** Path of the token that it wants. */
  readonly tokenFile?: string | undefined;
  /** The key that signs its answers, hex. */
  readonly answerKey?: string | undefined;
}

/** The webhook that the local deployment asks instead of its own auth-simple; undefined where it runs its own. */
export async function externalWebhook(layout: StackLayout): Promise<ChosenWebhook | undefined> {
  const text = (await readTextIfExists(layout.authWebhook))?.trim();
  if (text === undefined) return undefined;
  // Deployments before 0.6.1 kept the address alone.
  return text.startsWith("{") ? (parseJson(text, layout.authWebhook) as ChosenWebhook) : { url: text };
}

/** Whom the deployment's KMS and VMM ask. */
export const deploymentWebhook = async (layout: StackLayout): Promise<ChosenWebhook> =>
  (await externalWebhook(layout)) ?? { url: `http://127.0.0.1:${layout.ports.auth}` };

/** The webhook as a client asks it. */
export const askedAs = ({ url, tokenFile, answerKey: key }: ChosenWebhook): WebhookAddress => ({
  url,
  timeoutMs: WEBHOOK_TIMEOUT_MS,
  ...(tokenFile === undefined ? {} : { bearerToken: async () => (await readFile(tokenFile, "utf8")).trim() }),
  ...(key === undefined ? {} : { answerKeys: [answerKey(key)] }),
});

/** Decides for this start of the deployment and what is deployed to it. @throws CliError `usage` */
export async function chooseWebhook(
  layout: StackLayout,
  chosen: { readonly [Key in keyof ChosenWebhook]?: ChosenWebhook[Key] | undefined },
): Promise<void> {
  const { url, tokenFile, answerKey: key } = chosen;
  if (url === undefined) {
    if (tokenFile !== undefined || key !== undefined)
      throw new CliError("usage", "--auth-token-file and --auth-key are about the webhook of --auth-url");
    return removeIfExists(layout.authWebhook);
  }
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol))
    throw new CliError("usage", `--auth-url: expected an http or https URL, got "${url.slice(0, 80)}"`);
  // The address shows in configuration files and messages.
  if (parsed.username !== "" || parsed.password !== "" || parsed.search !== "" || parsed.hash !== "")
    throw new CliError("usage", "--auth-url: expected scheme, host, port and path alone");
  if (key !== undefined)
    asRefusal(
      () => answerKey(key),
      ({ message }) => new CliError("usage", `--auth-key: ${message}`),
    );
  await mkdir(dirname(layout.authWebhook), { recursive: true, mode: 0o700 });
  await writeJsonAtomic(layout.authWebhook, {
    url: parsed.href.replace(/\/+$/, ""),
    ...(tokenFile === undefined ? {} : { tokenFile: resolve(tokenFile) }),
    ...(key === undefined ? {} : { answerKey: key }),
  } satisfies ChosenWebhook);
}

/** Whether the webhook answers, and trusts this deployment's gateway. @throws CliError where it does not answer */
export async function checkWebhook(
  webhook: ChosenWebhook,
  gatewayAppId: string,
  note: (text: string) => void,
): Promise<void> {
  const { url } = webhook;
  const info = await askWebhookInfo(askedAs(webhook));
  if (typeof info === "string")
    throw new CliError("failed", `${url}: ${info}`, {
      hint: "start the webhook first, or leave --auth-url away to use the deployment's own",
    });
  const trusted = info.gatewayAppId.toLowerCase();
  if (trusted !== "any" && !trusted.includes(gatewayAppId))
    note(
      `${url} does not trust this deployment's gateway, so apps could not be reached; to allow it: dstack auth allow gateway 0x${gatewayAppId}${info.selector}`,
    );
}
