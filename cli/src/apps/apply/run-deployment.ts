import type { Cli } from "../../clients/cli.ts";
import { appUrl } from "../../local/app-url.ts";
import { CliError } from "../../terminal/errors.ts";
import { visible } from "../../terminal/output.ts";
import type { Progress } from "../../terminal/progress.ts";
import {
  applyDeployment,
  finishDeployment,
  undoDeployment,
  wayBack,
  type ApplyPorts,
  type Deployment,
} from "./apply.ts";
import { planDeployment, requireReady, type PlanPorts } from "../plan/plan.ts";
import type { DeployRequest } from "../plan/request.ts";
import { shellWord } from "../../terminal/shell-word.ts";
import { hasBootEnded, waitForApp } from "./wait-for-app.ts";

export interface RunOptions {
  /** Whether the outcome is waited for. */
  readonly wait: boolean;
  /** Whether a version comes back that a failed update replaced. */
  readonly rollback: boolean;
  readonly output: "text" | "json";
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/**
 * Plans, applies, and unless told otherwise waits for the app's first answer; then the version that was replaced is
 * withdrawn, or put back where the new one's boot ended otherwise.
 * @throws CliError that says what was left behind
 */
export async function runDeployment(
  cli: Cli,
  request: DeployRequest,
  ports: PlanPorts,
  options: RunOptions,
): Promise<void> {
  const { say } = cli.out;
  const { rollback: rollBack, signal, progress } = options;
  const applyPorts: ApplyPorts = { ...ports, say };
  const plan = await progress.phase("plan", () => planDeployment(request, ports));
  requireReady(plan);
  const deployment = await progress.phase("deploy", () => applyDeployment(plan, applyPorts, { rollBack, signal }));
  for (const line of deploymentLines(deployment)) say(`      ${visible(line)}`);
  const [port] = plan.gateway.ports;
  const url = port === undefined ? undefined : appUrl(cli.layout, plan.appId, port);
  if (options.wait) {
    const caFile = `${cli.layout.caFolder}/ca.crt`;
    try {
      await waitForApp(ports.vmm, { vmId: deployment.vmId, url, caFile, progress, signal });
    } catch (error) {
      throw await failed(error, deployment, applyPorts, rollBack && hasBootEnded(error));
    }
    await finishDeployment(deployment, applyPorts);
  } else say(`      ${nextCommands(deployment)}`);
  const { appId, permission, existing } = plan;
  const { composeHash } = permission.version;
  if (options.output === "json")
    cli.out.json({
      vm_id: deployment.vmId,
      app_id: appId,
      compose_hash: composeHash,
      url: url ?? null,
      updated: existing !== undefined,
      phases_ms: progress.phasesMs,
    });
  else
    cli.out.print(
      `app id        ${appId}\ncompose hash  ${composeHash}\nvm id         ${deployment.vmId}${url === undefined ? "\nthe gateway reaches no port of it" : `\nurl           ${url}`}`,
    );
}

/** What a deployment that did not come to its end is told as; the version that ran is back by then where `rollBack`. */
async function failed(error: unknown, deployment: Deployment, ports: ApplyPorts, rollBack: boolean): Promise<unknown> {
  if (!(error instanceof CliError)) return error;
  const back = rollBack ? await undoDeployment(deployment, ports) : undefined;
  if (back !== undefined) return new CliError("failed", error.message, { cause: error.cause, hint: back });
  const hints = [error.hint, nextCommands(deployment)].filter((hint) => hint !== undefined);
  return new CliError(error.code, error.message, { cause: error.cause, hint: hints.join("; ") });
}

const nextCommands = ({ plan }: Deployment): string =>
  [`to go on waiting: dstack wait ${shellWord(plan.name)}`, wayBack(plan)].filter((text) => text !== "").join("; ");

function deploymentLines({ plan, policyChanges, vmId }: Deployment): readonly string[] {
  return [
    ...plan.pinned.map(({ from, to }) => `${from} is pinned to ${to}`),
    ...(plan.kept.length === 0 ? [] : [`not given, so kept: ${plan.kept.join("; ")}`]),
    ...policyChanges.map(({ sign, path, value }) => `policy ${sign} ${path} ${value}`),
    plan.permission.decision === undefined
      ? "the policy was not asked; the KMS will ask it"
      : "allowed to boot by the policy as it is now",
    ...plan.advice.map((text) => `warning: ${text}`),
    ...plan.gateway.notes,
    `app ${plan.appId} on VM ${vmId}`,
  ];
}
