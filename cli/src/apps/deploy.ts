import { visible } from "../terminal/output.ts";
import { createProgress } from "../terminal/progress.ts";
import { appUrl, publishedPorts } from "../local/app-url.ts";
import { deployApp } from "./deploy-app.ts";
import { readEnvironment } from "./environment.ts";
import { parseAmount, parsePort } from "../terminal/ports.ts";
import { waitForAnswer, waitForBoot } from "./wait-for-app.ts";
import { appIdOf } from "../auth/hash-from-file.ts";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import type { DeployOptions } from "./options.ts";

const BOOT_TIMEOUT_MS = 10 * 60_000;
const ANSWER_TIMEOUT_MS = 90_000;

/** `dstack deploy` */
export async function deploy(cli: Cli, options: DeployOptions): Promise<void> {
  const { layout } = cli;
  const { json, print, say } = cli.out;
  if (!/^\d{1,4}$/.test(options.vcpu) || options.vcpu === "0")
    throw new CliError("usage", `--vcpu ${options.vcpu}: expected a number from 1`);
  const request = {
    composeFile: options.compose,
    name: options.name,
    environment: await readEnvironment(options.env, options.envFile),
    ports: options.port.map(parsePort),
    image: options.image,
    vcpu: Number(options.vcpu),
    memoryMib: parseAmount(options.memory, "M", "--memory"),
    diskGib: parseAmount(options.disk, "G", "--disk"),
    secureTime: options.secureTime ?? false,
    storageFs: options.storageFs,
    publicLogs: options.publicLogs ?? false,
    allowMutable: options.allowMutable ?? false,
    allow: options.allow,
    check: options.check,
    appId: options.appId === undefined ? undefined : (await appIdOf(options.appId)).slice(2),
  };
  const client = await cli.vmm();
  const progress = createProgress(process.stderr);
  const deployment = await progress.phase("deploy", () => deployApp(client, layout, request));
  for (const { from, to } of deployment.resolved) say(`      ${visible(from)} is pinned to ${to}`);
  for (const { sign, path, value } of deployment.policyChanges)
    say(`      policy ${sign} ${visible(path)} ${visible(value)}`);
  say(
    options.check
      ? "      allowed to boot by the policy as it is now"
      : "      the policy was not asked; the KMS will ask it",
  );
  for (const warning of deployment.warnings) say(`      warning: ${visible(warning)}`);
  const ports = publishedPorts(deployment.yamlText);
  const port = ports.includes(80) ? 80 : ports[0];
  const url = port === undefined ? undefined : appUrl(layout, deployment.appId, port);
  if (options.wait) {
    await progress.phase("boot", (note) => waitForBoot(client, deployment.vmId, { timeoutMs: BOOT_TIMEOUT_MS, note }));
    if (url !== undefined)
      await progress.phase("answer", (note) =>
        waitForAnswer(url, `${layout.caFolder}/ca.crt`, { timeoutMs: ANSWER_TIMEOUT_MS, note }),
      );
  }
  const summary = {
    vm_id: deployment.vmId,
    app_id: deployment.appId,
    compose_hash: deployment.composeHash,
    url: url ?? null,
    updated: deployment.updated,
    phases_ms: progress.phasesMs,
  };
  if (options.output === "json") {
    json(summary);
  } else {
    print(
      `app id        ${deployment.appId}\ncompose hash  ${deployment.composeHash}\nvm id         ${deployment.vmId}${url === undefined ? "\nno TCP port is published, so the gateway has nothing to forward to" : `\nurl           ${url}`}`,
    );
  }
}
