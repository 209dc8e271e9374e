import { appIdOf } from "../auth/hash-from-file.ts";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { parseAmount, parsePort } from "../terminal/ports.ts";
import { createProgress } from "../terminal/progress.ts";
import { withAppLock } from "./apply/app-lock.ts";
import { deployPorts } from "./plan/plan-ports.ts";
import { readEnvironment } from "./plan/environment.ts";
import { interruptible } from "./apply/interruption.ts";
import type { DeployOptions } from "./options.ts";
import { planDeployment } from "./plan/plan.ts";
import { exitCodeOf, planJson, planText } from "./plan/plan-text.ts";
import type { DeployRequest } from "./plan/request.ts";
import { runDeployment } from "./apply/run-deployment.ts";

/** `dstack deploy` */
export async function deploy(cli: Cli, options: DeployOptions): Promise<void> {
  const request = await requestOf(options);
  const ports = await deployPorts(await cli.vmm(), cli.layout);
  if (options.dryRun === true) {
    const plan = await planDeployment(request, ports);
    if (options.output === "json") cli.out.json(planJson(plan));
    else cli.out.print(planText(plan));
    cli.exit.code = exitCodeOf(plan);
    return;
  }
  await withAppLock(cli.layout, request.app.name, () =>
    interruptible((signal) =>
      runDeployment(cli, request, ports, { ...options, signal, progress: createProgress(process.stderr) }),
    ),
  );
}

/** @throws CliError `usage` */
async function requestOf(options: DeployOptions): Promise<DeployRequest> {
  const { env, envFile, port, image, vcpu, memory, disk, storageFs, secureTime, publicLogs, appId } = options;
  if (vcpu !== undefined && !/^[1-9]\d{0,3}$/.test(vcpu))
    throw new CliError("usage", `--vcpu ${vcpu}: expected a number from 1`);
  return {
    app: {
      name: options.name,
      composeFile: options.compose,
      appId: appId === undefined ? undefined : (await appIdOf(appId)).slice(2),
      environment: env.length === 0 && envFile === undefined ? undefined : await readEnvironment(env, envFile),
      dropEnvironment: options.dropEnv ?? false,
      secureTime,
      storageFs,
      publicLogs,
      allowMutable: options.allowMutable ?? false,
    },
    machine: {
      image,
      vcpu: vcpu === undefined ? undefined : Number(vcpu),
      memoryMib: memory === undefined ? undefined : parseAmount(memory, "M", "--memory"),
      diskGib: disk === undefined ? undefined : parseAmount(disk, "G", "--disk"),
      ports: port.length === 0 ? undefined : port.map(parsePort),
      dropPorts: options.dropPorts ?? false,
    },
    permission: { allow: options.allow, check: options.check },
  };
}
