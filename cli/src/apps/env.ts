import { parseAppCompose } from "@dstack/compose";
import { utf8 } from "@dstack/bytes";
import { encryptEnvironment, readEnvironment } from "./environment.ts";
import { CliError } from "../terminal/errors.ts";
import { print, printJson, say, type OutputFormat } from "../terminal/output.ts";
import type { StackLayout } from "../local/layout.ts";
import { vmmClient, vmmMethods } from "../clients/vmm-client.ts";
import { stopVm } from "./lifecycle.ts";

/** `dstack env set APP K=V...` */
export async function set(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  app: string,
  pairs: readonly string[],
): Promise<void> {
  const environment = await readEnvironment(pairs, undefined);
  const client = await vmmClient(layout, env);
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
  const encryptedEnv = await encryptEnvironment(client, layout, vm.appId, environment);
  await stopVm(client, vm.id, false);
  await client.call(vmmMethods.updateVm, { id: vm.id, encryptedEnv });
  await client.call(vmmMethods.startVm, { id: vm.id });
  say(`the environment of ${vm.name} is replaced; it is starting again`);
}

/** `dstack env show APP` */
export async function show(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  app: string,
  format: OutputFormat,
): Promise<void> {
  const vm = await (await vmmClient(layout, env)).find(app);
  const names = allowedNames(vm.configuration?.composeFile ?? "");
  if (format === "json") printJson(names);
  else print(names.length === 0 ? `${vm.name} accepts no variables` : names.join("\n"));
}

function allowedNames(manifest: string): readonly string[] {
  return parseAppCompose(utf8(manifest)).compose.allowedEnvs;
}
