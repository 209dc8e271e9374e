import { setTimeout as sleep } from "node:timers/promises";

/** Whether a process of that id exists. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Asks a process to end, and kills it when it has not within `graceMs`. Returns once it is gone. */
export async function terminate(pid: number, graceMs = 5_000): Promise<void> {
  if (!send(pid, "SIGTERM")) return;
  if (await gone(pid, graceMs)) return;
  send(pid, "SIGKILL");
  await gone(pid, 5_000);
}

async function gone(pid: number, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (isAlive(pid)) {
    if (Date.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}
