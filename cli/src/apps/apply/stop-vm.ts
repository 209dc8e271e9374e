import { setTimeout as sleep } from "node:timers/promises";
import { errorChain } from "@dstack/errors";
import { vmmMethods, type VmmClient } from "../../clients/vmm-client.ts";
import { CliError } from "../../terminal/errors.ts";
import { isUp } from "../plan/steps.ts";

export interface StopOptions {
  /** Whether the guest is not asked first. */
  readonly force: boolean;
  readonly say: (text: string) => void;
  readonly graceMs?: number;
}

/** A guest gives its containers a minute, and every later step of its shutdown up to 90 seconds. */
const GRACE_MS = 180_000;

/** Stops a VM, gently first unless forced, so that nothing starts it again by itself. @throws CliError */
export async function stopVm(client: VmmClient, id: string, options: StopOptions): Promise<void> {
  const { force, say, graceMs = GRACE_MS } = options;
  if (!force && isUp(await statusOf(client, id))) {
    try {
      await client.call(vmmMethods.shutdownVm, { id });
      if (await isDown(client, id, graceMs)) return;
      say("the guest did not shut down in time; forcing it");
    } catch (error) {
      say(`the guest cannot be asked to shut down (${errorChain(error)}); forcing it`);
    }
  }
  // One that ended by itself is still meant to run.
  if (!["running", "starting", "stopping", "exited"].includes(await statusOf(client, id))) return;
  await client.call(vmmMethods.stopVm, { id });
  if (!(await isDown(client, id, 20_000)))
    throw new CliError("failed", `VM ${id} is still running after it was stopped`, {
      hint: "see `dstack info` and the VMM's log",
    });
}

async function isDown(client: VmmClient, id: string, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (isUp(await statusOf(client, id))) {
    if (Date.now() > deadline) return false;
    await sleep(300);
  }
  return true;
}

async function statusOf(client: VmmClient, id: string): Promise<string> {
  const answer = await client.call(vmmMethods.getInfo, { id });
  return answer.info?.status ?? "";
}
