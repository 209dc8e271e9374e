import { rm } from "node:fs/promises";
import { run } from "@dstack/process";
import type { Cli } from "../clients/cli.ts";
import { stopVm } from "../apps/apply/stop-vm.ts";
import { tunnelOf } from "./configs.ts";
import type { StackLayout } from "../local/layout.ts";
import { kmsImageFolder } from "../local/places.ts";
import { accepts, waitPortsFree } from "./ports.ts";
import { stopRecorded } from "../local/stack-file.ts";
import { stopStrays } from "./strays.ts";

const PORTS_FREE_WITHIN_MS = 10_000;
const GUEST_SHUTDOWN_MS = 60_000;

/** Removes what an earlier run left behind, however it ended, and checks that the ports are free. */
export async function cleanUp(layout: StackLayout, note: (text: string) => void): Promise<void> {
  const left = [...(await stopRecorded(layout.stackFile)), ...(await stopStrays(layout.state))];
  if (left.length > 0) note(`stopped what an earlier run left: ${left.join(", ")}`);
  await removeInterface(layout);
  const { wireguard: _udp, ...tcp } = layout.ports;
  await waitPortsFree(Object.values(tcp), PORTS_FREE_WITHIN_MS);
}

/** Stops guests in order, then the services, newest first, then whatever still belongs to the deployment. */
export async function stopEverything(cli: Cli): Promise<void> {
  const { layout } = cli;
  await stopGuests(cli);
  await stopRecorded(layout.stackFile);
  await stopStrays(layout.state);
  await removeInterface(layout);
}

async function stopGuests({ layout, out, vmm }: Cli): Promise<void> {
  if (!(await accepts(layout.ports.vmm))) return;
  try {
    const client = await vmm();
    const running = (await client.list()).filter((vm) => vm.status === "running");
    await Promise.all(
      running.map((vm) => stopVm(client, vm.id, { force: false, say: out.say, graceMs: GUEST_SHUTDOWN_MS })),
    );
  } catch (error) {
    out.say(`guests could not be stopped in order: ${(error as Error).message}`);
  }
}

async function removeInterface(layout: StackLayout): Promise<void> {
  const { device } = tunnelOf(layout);
  const { code } = await run("ip", ["link", "show", device], { okCodes: [0, 1], timeoutMs: 10_000 });
  if (code === 0) await run("ip", ["link", "delete", device], { okCodes: [0, 1], timeoutMs: 10_000 });
}

/** Deletes all state and the cached images. */
export async function purge(layout: StackLayout): Promise<void> {
  await rm(layout.state, { recursive: true, force: true });
  for (const folder of [layout.images, kmsImageFolder(layout)]) await rm(folder, { recursive: true, force: true });
}
