import { parseAppCompose } from "@dstack/compose";
import { utf8 } from "@dstack/bytes";
import { encryptEnvironment, readEnvironment } from "./environment.ts";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import { vmmMethods } from "../clients/vmm-client.ts";
import { stopVm } from "./lifecycle.ts";
import type { EnvShowOptions } from "./options.ts";

/** `dstack env set APP K=V...` */
export async function envSet(cli: Cli, app: string, pairs: readonly string[]): Promise<void> {
  const { say } = cli.out;
  const environment = await readEnvironment(pairs, undefined);
  const client = await cli.vmm();
  const vm = await client.find(app);
  const allowed = allowedNames(vm.configuration?.composeFile ?? "");
  const foreign = environment.filter(({ key }) => !allowed.includes(key)).map(({ key }) => key);
  if (foreign.length > 0) {
    throw new CliError(
      "usage",
      `${vm.name} does not accept ${foreign.join(", ")}: its manifest allows ${allowed.length === 0 ? "no variables" : allowed.join(", ")}`,
      { hint: "deploy it again with -e to change what it accepts; that changes its compose hash" },
    );
  }
  const missing = allowed.filter((name) => !environment.some(({ key }) => key === name));
  if (missing.length > 0) say(`warning: ${missing.join(", ")} will be unset: the environment is replaced as a whole`);
  const encryptedEnv = await encryptEnvironment(client, cli.layout, vm.appId, environment);
  await stopVm(client, vm.id, false);
  await client.call(vmmMethods.updateVm, { id: vm.id, encryptedEnv });
  await client.call(vmmMethods.startVm, { id: vm.id });
  say(`the environment of ${vm.name} is replaced; it is starting again`);
}

/** `dstack env show APP` */
export async function envShow(cli: Cli, app: string, { output }: EnvShowOptions): Promise<void> {
  const vm = await (await cli.vmm()).find(app);
  const names = allowedNames(vm.configuration?.composeFile ?? "");
  if (output === "json") cli.out.json(names);
  else cli.out.print(names.length === 0 ? `${vm.name} accepts no variables` : names.join("\n"));
}

function allowedNames(manifest: string): readonly string[] {
  return parseAppCompose(utf8(manifest)).compose.allowedEnvs;
}
