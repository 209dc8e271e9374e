import { appUrl } from "../deploy/app-url.ts";
import { print, printJson, type OutputFormat } from "../output.ts";
import type { StackLayout } from "../stack/layout.ts";
import { reportText } from "../verify/report.ts";
import { verifyApp } from "../verify/verify-app.ts";
import { vmmClient } from "../vmm-client.ts";

export interface VerifyCommandOptions {
  readonly root?: string;
  readonly cacert?: string;
  readonly kmsCa?: string;
  readonly pccs?: string;
  readonly imageDir?: string;
  readonly output: OutputFormat;
}

/** `dstack verify`: exit code 0 when nothing fails, 3 otherwise. */
export async function verifyCommand(layout: StackLayout, env: NodeJS.ProcessEnv, what: string, options: VerifyCommandOptions): Promise<number> {
  const url = what.startsWith("https://") ? what : appUrl(layout, (await (await vmmClient(layout, env)).find(what)).appId, 80);
  const result = await verifyApp(layout, env, {
    url,
    now: new Date(),
    root: options.root,
    caFile: options.cacert,
    kmsCaFile: options.kmsCa,
    pccsUrl: options.pccs,
    imageDir: options.imageDir,
  });
  if (options.output === "json") printJson({ ok: result.ok, what: result.what, environment: result.environment, app_id: result.appId ?? null, compose_hash: result.composeHash ?? null, tcb_status: result.tcbStatus ?? null, checks: result.checks });
  else print(reportText(result));
  return result.ok ? 0 : 3;
}
