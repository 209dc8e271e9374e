/**
 * Apps, from a docker-compose file to a confidential VM that answers.
 * In: a compose file, sizes, ports and secrets; an app's name or id.
 * Out: VMs created, changed, started, stopped and removed by the VMM; lines about them.
 * Never: a secret in plain text to the VMM, or a version that the policy was not asked about unless the user said so.
 */
import type { Parent } from "../terminal/options.ts";
import type { Cli } from "../clients/cli.ts";
import {
  appsCommand,
  deployCommand,
  envCommand,
  envSetCommand,
  envShowCommand,
  infoCommand,
  logsCommand,
  rmCommand,
  rollbackCommand,
  startCommand,
  stopCommand,
  waitCommand,
} from "./options.ts";

export function addAppCommands(program: Parent, cli: Cli): void {
  deployCommand(program).action(async (options) => (await import("./deploy.ts")).deploy(cli, options));
  waitCommand(program).action(async (app) => (await import("./wait.ts")).wait(cli, app));
  rollbackCommand(program).action(async (app, options) => (await import("./rollback.ts")).rollback(cli, app, options));
  appsCommand(program).action(async (options) => (await import("./apps.ts")).apps(cli, options));
  infoCommand(program).action(async (app, options) => (await import("./info.ts")).info(cli, app, options));
  logsCommand(program).action(async (app, options) => (await import("./logs.ts")).logs(cli, app, options));
  stopCommand(program).action(async (app, options) => (await import("./stop.ts")).stop(cli, app, options));
  startCommand(program).action(async (app) => (await import("./start.ts")).start(cli, app));
  rmCommand(program).action(async (app) => (await import("./rm.ts")).rm(cli, app));
  const env = envCommand(program);
  envSetCommand(env).action(async (app, pairs) => (await import("./env-set.ts")).envSet(cli, app, pairs));
  envShowCommand(env).action(async (app, options) => (await import("./env-show.ts")).envShow(cli, app, options));
}
