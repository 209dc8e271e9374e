import { existsSync } from "node:fs";
import { appUrl } from "../local/app-url.ts";
import { CliError } from "../terminal/errors.ts";
import { print, printJson, say, type OutputFormat } from "../terminal/output.ts";
import type { StackLayout } from "../local/layout.ts";
import { fullReportText } from "./report.ts";
import type { VerifyResult } from "./result.ts";
import { verifyFile, verifyUrl, type RemoteKind, type TargetOptions } from "./target.ts";
import { vmmClient } from "../clients/vmm-client.ts";

export interface VerifyCommandOptions {
  readonly time?: string;
  readonly root?: string;
  readonly cacert?: string;
  readonly kmsCa?: string;
  readonly kms?: string;
  readonly pccs?: string;
  readonly collateral?: string;
  readonly policy?: string;
  readonly imageDir?: string;
  readonly imageUrl?: string;
  readonly appId?: string;
  readonly composeHash?: string;
  readonly osImageHash?: string;
  readonly gatewayAppId?: string;
  readonly accept: readonly string[];
  readonly save?: string;
  readonly output: OutputFormat;
}

/** `dstack verify <what>`: an app by URL, id or name, or a file. Exit code 0 when verified, 3 otherwise. */
export async function verifyCommand(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  what: string,
  options: VerifyCommandOptions,
): Promise<number> {
  if (!what.startsWith("https://") && existsSync(what)) {
    if (options.save !== undefined)
      throw new CliError("usage", "--save: a file is there already; it goes with what is fetched");
    return conclude(await verifyFile(layout, env, what, targetOptions(options)), options);
  }
  const url = what.startsWith("https://")
    ? parseUrl(what)
    : new URL(appUrl(layout, (await (await vmmClient(layout, env)).find(what)).appId, 80));
  return conclude(await verifyUrl(layout, env, "app", url, targetOptions(options)), options);
}

/** `dstack verify kms|gateway <url>` */
export async function verifyPartCommand(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  kind: Exclude<RemoteKind, "app">,
  what: string,
  options: VerifyCommandOptions,
): Promise<number> {
  return conclude(await verifyUrl(layout, env, kind, parseUrl(what), targetOptions(options)), options);
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url?.protocol !== "https:") throw new CliError("usage", `expected an https:// URL, got ${text}`);
  return url;
}

const targetOptions = ({ cacert, kmsCa, kms, ...options }: VerifyCommandOptions): TargetOptions => ({
  ...options,
  caFile: cacert,
  kmsCaFile: kmsCa,
  kmsUrl: kms,
});

function conclude(result: VerifyResult, { output, save }: VerifyCommandOptions): number {
  if (save !== undefined) say(`wrote ${save}`);
  if (output === "json") printJson(toJson(result));
  else print(fullReportText(result));
  return result.ok ? 0 : 3;
}

function toJson(result: VerifyResult): unknown {
  const { ok, verdict, kind, what, environment, checks, sections, appId, composeHash, tcbStatus, osImageHash } = result;
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
    checks,
    sections,
  };
}
