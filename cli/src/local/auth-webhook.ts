import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { readTextIfExists, removeIfExists, writeFileAtomic } from "@dstack/files";
import { askWebhookInfo } from "@dstack/governance";
import { CliError } from "../terminal/errors.ts";
import type { StackLayout } from "./layout.ts";

/** How long a question to a webhook may take. */
export const WEBHOOK_TIMEOUT_MS = 10_000;

/** The webhook that the local deployment asks instead of its own auth-simple; undefined where it runs its own. */
export async function externalWebhook(layout: StackLayout): Promise<string | undefined> {
  return (await readTextIfExists(layout.authWebhook))?.trim();
}

/** Whom the deployment's KMS and VMM ask. */
export async function webhookUrl(layout: StackLayout): Promise<string> {
  return (await externalWebhook(layout)) ?? `http://127.0.0.1:${layout.ports.auth}`;
}

/** Decides for this start of the deployment and what is deployed to it. @throws CliError `usage` */
export async function chooseWebhook(layout: StackLayout, url: string | undefined): Promise<void> {
  if (url === undefined) return removeIfExists(layout.authWebhook);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol))
    throw new CliError("usage", `--auth-url: expected an http or https URL, got "${url.slice(0, 80)}"`);
  // The address shows in configuration files and messages.
  if (parsed.username !== "" || parsed.password !== "" || parsed.search !== "" || parsed.hash !== "")
    throw new CliError("usage", "--auth-url: expected scheme, host, port and path alone");
  await mkdir(dirname(layout.authWebhook), { recursive: true, mode: 0o700 });
  await writeFileAtomic(layout.authWebhook, `${parsed.href.replace(/\/+$/, "")}\n`);
}

/** Whether the webhook answers, and trusts this deployment's gateway. @throws CliError where it does not answer */
export async function checkWebhook(url: string, gatewayAppId: string, note: (text: string) => void): Promise<void> {
  const info = await askWebhookInfo({ url, timeoutMs: WEBHOOK_TIMEOUT_MS });
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
