import { mkdir } from "node:fs/promises";
import { isCoded } from "@dstack/errors";
import { lockFile, type FileLock } from "@dstack/files";
import { buildFlavour } from "../images/build.ts";
import { REPOSITORY_ROOT } from "../local/places.ts";
import { reportText } from "../verify/report.ts";
import type { VerifyResult } from "../verify/result.ts";
import { verifyUrl } from "../verify/target.ts";
import { appUrl } from "../local/app-url.ts";
import { waitForApp } from "../apps/apply/wait-for-app.ts";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import { createProgress, type Progress } from "../terminal/progress.ts";
import { vmmClient } from "../clients/vmm-client.ts";
import { chooseWebhook } from "../local/auth-webhook.ts";
import { cleanUp, stopEverything } from "./cleanup.ts";
import { ensureWildcardCertificate } from "../local/development-keys.ts";
import { deployHello, HELLO_PORT } from "./hello.ts";
import type { StackLayout } from "../local/layout.ts";
import type { UpOptions } from "./options.ts";
import { createServices, type Services } from "./services.ts";
import { publishHelloImage } from "./hello-image.ts";

interface HelloOutcome {
  readonly url: string;
  readonly appId: string;
  readonly composeHash: string;
  readonly verification: VerifyResult;
}

/**
 * `dstack up`: everything on this host, in order, each phase said. Stays until Ctrl-C, or with
 * `once` prints a JSON summary as the last line of standard output; then stops all of it.
 * @returns exit code 3 where hello was not verified
 * @throws CliError; what was started is stopped again
 */
export async function up(cli: Cli, options: UpOptions): Promise<number> {
  const { layout } = cli;
  const { print, say } = cli.out;
  await mkdir(layout.logs, { recursive: true, mode: 0o700 });
  const lock = await takeLock(layout);
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new CliError("failed", "interrupted"));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  const progress = createProgress(process.stderr);
  const hello = options.hello && options.authUrl === undefined;
  const services = createServices(cli, stop.signal);
  try {
    let outcome: HelloOutcome | undefined;
    try {
      await chooseWebhook(layout, {
        url: options.authUrl,
        tokenFile: options.authTokenFile,
        answerKey: options.authKey,
      });
      outcome = await start({ cli, progress, services, signal: stop.signal }, hello);
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    }
    if (options.once !== true && !stop.signal.aborted) {
      await announce(cli, outcome);
      await services.keepAlive(say);
    }
    await progress.phase("take down", () => stopEverything(cli));
    if (options.once === true) {
      if (outcome === undefined && hello) throw new CliError("failed", "interrupted before the app answered");
      print(summary(outcome, progress));
    }
    return options.once === true && outcome?.verification.ok === false ? 3 : 0;
  } catch (error) {
    if (error instanceof CliError && options.once === true)
      print(JSON.stringify({ ok: false, error: error.message, phases_ms: progress.phasesMs }));
    await stopEverything(cli);
    throw error;
  } finally {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, onSignal);
    await lock.release();
  }
}

interface Run {
  readonly cli: Cli;
  readonly progress: Progress;
  readonly services: Services;
  readonly signal: AbortSignal;
}

async function start({ cli, progress, services, signal }: Run, hello: boolean): Promise<HelloOutcome | undefined> {
  const { layout } = cli;
  await progress.phase("clean up", (note) => cleanUp(layout, note));
  const built = await progress.phase("guest image", (note) => buildFlavour(cli, "sim", note));
  await progress.phase("collateral of the simulated TEE", () => services.startCollateral());
  await progress.phase("key provider of the simulated TEE", () => services.startKeyProvider());
  await progress.phase("container registry", () => services.startRegistry());
  await progress.phase("demo app's image", () => publishHelloImage(layout));
  await progress.phase("authorization", services.startAuth);
  await progress.phase("KMS", () => services.startKms());
  await progress.phase("gateway", async () => {
    await ensureWildcardCertificate(layout, Math.floor(Date.now() / 1000));
    await services.startGateway();
  });
  await progress.phase("VMM", () => services.startVmm());
  if (!hello) return undefined;
  const client = await cli.vmm();
  const deployment = await progress.phase("deploy", () => deployHello(cli, built.image.name));
  const url = appUrl(layout, deployment.appId, HELLO_PORT);
  await waitForApp(client, {
    vmId: deployment.vmId,
    url,
    caFile: `${layout.caFolder}/ca.crt`,
    progress,
    signal,
  });
  await deployment.finish();
  const verification = await progress.phase("verify", () => verifyUrl(cli, "app", new URL(url), {}));
  cli.out.say(`\n${reportText(verification)}`);
  return { url, appId: deployment.appId, composeHash: deployment.composeHash, verification };
}

async function announce({ layout, out }: Cli, outcome: HelloOutcome | undefined): Promise<void> {
  const { token, url } = await vmmClient(layout, {});
  const lines = [`\nConsole   ${url}/?token=${token ?? ""}`];
  if (outcome !== undefined) {
    const { hostname } = new URL(outcome.url);
    lines.unshift(
      `\nApp       ${outcome.url}`,
      `          curl --cacert ${layout.caFolder}/ca.crt --resolve ${hostname}:${layout.ports.proxy}:127.0.0.1 ${outcome.url}`,
      `          from another desk: ssh -L ${layout.ports.proxy}:127.0.0.1:${layout.ports.proxy} -L ${layout.ports.vmm}:127.0.0.1:${layout.ports.vmm} <this machine>`,
    );
  }
  lines.push(
    `\nIn another terminal, in ${REPOSITORY_ROOT}:\n          ./dstack apps | logs -f hello | verify hello | deploy -c docker-compose.yaml -n NAME`,
    "\nCtrl-C stops everything; data is kept.",
  );
  out.print(lines.join("\n"));
}

function summary(outcome: HelloOutcome | undefined, progress: Progress): string {
  return JSON.stringify({
    ok: outcome?.verification.ok ?? true,
    url: outcome?.url ?? null,
    app_id: outcome?.appId ?? null,
    compose_hash: outcome?.composeHash ?? null,
    checks: outcome?.verification.checks.map(({ name, result, reason }) => ({ name, result, reason })) ?? [],
    phases_ms: progress.phasesMs,
  });
}

async function takeLock(layout: StackLayout): Promise<FileLock> {
  try {
    return await lockFile(layout.lockFile);
  } catch (error) {
    if (!isCoded(error, "locked")) throw error;
    throw new CliError("failed", `the local deployment is already running (process ${error.facts["pid"]})`, {
      cause: error,
      hint: "use it with `dstack apps`, or stop it with `dstack down`",
    });
  }
}
