import { readdir, readFile, rm } from "node:fs/promises";
import { processStartTime, run } from "@dstack/process";
import type { Cli } from "../clients/cli.ts";
import { stopVm } from "../apps/stop-vm.ts";
import { tunnelOf } from "./configs.ts";
import type { StackLayout } from "../local/layout.ts";
import { kmsImageFolder } from "../local/places.ts";
import { stopProcess } from "../local/managed-process.ts";
import { accepts, waitPortsFree } from "./services.ts";
import { stopRecorded } from "../local/stack-file.ts";

const PORTS_FREE_WITHIN_MS = 10_000;
const GUEST_SHUTDOWN_MS = 60_000;

/** Removes what an earlier run left behind, however it ended, and checks that the ports are free. */
export async function cleanUp(layout: StackLayout, note: (text: string) => void): Promise<void> {
  const left = [...(await stopRecorded(layout.stackFile)), ...(await stopStrays(layout))];
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
  await stopStrays(layout);
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

/**
 * Processes that name the state folder in their command line: QEMU, the supervisor and whatever
 * lost its record. The supervisor goes first, since it may start others.
 */
async function stopStrays(layout: StackLayout): Promise<readonly string[]> {
  const stopped: string[] = [];
  for (let round = 0; round < 5; round++) {
    const strays = await findStrays(layout);
    if (strays.length === 0) break;
    strays.sort((a, b) => Number(b.name === "supervisor") - Number(a.name === "supervisor"));
    for (const stray of strays) {
      await stopProcess(stray, 5_000);
      stopped.push(stray.name);
    }
  }
  return stopped;
}

async function findStrays(layout: StackLayout): Promise<{ name: string; pid: number; startTime: string }[]> {
  const found: { name: string; pid: number; startTime: string }[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid || pid === process.ppid) continue;
    const args = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    const belongs = args.slice(1).some((arg) => arg.includes(`${layout.state}/`)) && isService(args);
    const startTime = processStartTime(pid);
    if (belongs && startTime !== undefined) found.push({ name: nameOf(args), pid, startTime });
  }
  return found;
}

/** Only programs that the deployment starts: an editor with a file of the state folder open is not ours to stop. */
function isService(args: readonly string[]): boolean {
  return args
    .slice(0, 3)
    .some((arg) => /qemu-system|services\/[a-z-]+\/src\/|docker-registry|wireguard-go|ld-linux/.test(arg));
}

const nameOf = (args: readonly string[]): string =>
  /services\/([a-z-]+)\/src/.exec(args.join(" "))?.[1] ?? /qemu-system/.exec(args.join(" "))?.[0] ?? args[0] ?? "?";

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
