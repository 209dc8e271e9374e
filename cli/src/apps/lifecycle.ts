import { setTimeout as sleep } from "node:timers/promises";
import { CliError } from "../terminal/errors.ts";
import { say } from "../terminal/output.ts";
import type { Cli } from "../clients/cli.ts";
import { vmmMethods, type VmmClient } from "../clients/vmm-client.ts";
import type { StopOptions } from "./options.ts";

/** `dstack start APP` */
export async function start(cli: Cli, app: string): Promise<void> {
  const client = await cli.vmm();
  const { id } = await client.find(app);
  await client.call(vmmMethods.startVm, { id });
  cli.out.say(`started ${app}; follow it with \`dstack logs -f ${app}\``);
}

/** `dstack stop APP`: the guest shuts down in order; forced after 60 s, or at once with --force. */
export async function stop(cli: Cli, app: string, { force }: StopOptions): Promise<void> {
  const client = await cli.vmm();
  const { id } = await client.find(app);
  await stopVm(client, id, force === true);
  cli.out.say(`stopped ${app}`);
}

/** `dstack rm APP` */
export async function rm(cli: Cli, app: string): Promise<void> {
  const client = await cli.vmm();
  const { id } = await client.find(app);
  await stopVm(client, id, true);
  await client.call(vmmMethods.removeVm, { id });
  cli.out.say(`removed ${app} and its data`);
}

/** Stops a VM, gently first unless `force`; does nothing to a stopped one. */
export async function stopVm(client: VmmClient, id: string, force: boolean, graceMs = 60_000): Promise<void> {
  if (!force && (await isUp(client, id))) {
    try {
      await client.call(vmmMethods.shutdownVm, { id });
      if (await isDown(client, id, graceMs)) return;
      say("the guest did not shut down in time; forcing it");
    } catch (error) {
      say(`the guest cannot be asked to shut down (${(error as Error).message}); forcing it`);
    }
  }
  if (!(await isUp(client, id))) return;
  await client.call(vmmMethods.stopVm, { id });
  if (!(await isDown(client, id, 20_000)))
    throw new CliError("failed", `VM ${id} is still running after it was stopped`, {
      hint: "see `dstack info` and the VMM's log",
    });
}

async function isDown(client: VmmClient, id: string, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (await isUp(client, id)) {
    if (Date.now() > deadline) return false;
    await sleep(300);
  }
  return true;
}

async function isUp(client: VmmClient, id: string): Promise<boolean> {
  const answer = await client.call(vmmMethods.getInfo, { id });
  return answer.found && ["running", "starting", "stopping"].includes(answer.info?.status ?? "");
}
