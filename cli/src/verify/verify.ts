import { existsSync } from "node:fs";
import { isoTime } from "@dstack/attest";
import type { Cli } from "../clients/cli.ts";
import { appUrl } from "../local/app-url.ts";
import { CliError } from "../terminal/errors.ts";
import type { VerifyGatewayOptions, VerifyKmsOptions, VerifyOptions } from "./options.ts";
import { fullReportText } from "./report.ts";
import type { VerifyResult } from "./result.ts";
import { verifyFile, verifyUrl } from "./target.ts";

/** `dstack verify <what>`: an app by URL, id or name, or a file. Exit code 0 when verified, 3 otherwise. */
export async function verify(cli: Cli, what: string, options: VerifyOptions): Promise<number> {
  if (!what.startsWith("https://") && existsSync(what)) {
    if (options.save !== undefined)
      throw new CliError("usage", "--save: a file is there already; it goes with what is fetched");
    return conclude(cli, await verifyFile(cli, what, options), options);
  }
  const url = what.startsWith("https://")
    ? parseUrl(what)
    : new URL(appUrl(cli.layout, (await (await cli.vmm()).find(what)).appId, 80));
  return conclude(cli, await verifyUrl(cli, "app", url, options), options);
}

/** `dstack verify kms <url>` */
export const verifyKms = async (cli: Cli, url: string, options: VerifyKmsOptions): Promise<number> =>
  conclude(cli, await verifyUrl(cli, "kms", parseUrl(url), options), options);

/** `dstack verify gateway <url>` */
export const verifyGateway = async (cli: Cli, url: string, options: VerifyGatewayOptions): Promise<number> =>
  conclude(cli, await verifyUrl(cli, "gateway", parseUrl(url), options), options);

/** @throws CliError `usage` */
export function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url?.protocol !== "https:") throw new CliError("usage", `expected an https:// URL, got ${text}`);
  return url;
}

function conclude({ out }: Cli, result: VerifyResult, { output, save }: VerifyKmsOptions): number {
  if (save !== undefined) out.say(`wrote ${save}`);
  if (output === "json") out.json(toJson(result));
  else out.print(fullReportText(result));
  return result.ok ? 0 : 3;
}

function toJson(result: VerifyResult): unknown {
  const { ok, verdict, kind, what, environment, checks, sections, goodUntil } = result;
  const { appId, composeHash, tcbStatus, osImageHash } = result;
  return {
    ok,
    verdict: verdict.kind,
    reason: verdict.kind === "verified" ? null : verdict.reason,
    kind,
    what,
    environment,
    app_id: appId ?? null,
    compose_hash: composeHash ?? null,
    os_image_hash: osImageHash ?? null,
    tcb_status: tcbStatus ?? null,
    good_until: ok && goodUntil !== undefined ? isoTime(goodUntil) : null,
    checks,
    sections,
  };
}
