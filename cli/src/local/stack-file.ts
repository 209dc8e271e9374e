import { z } from "zod";
import { readTextIfExists, removeIfExists, writeJsonAtomic } from "@dstack/files";
import { isRunning, stopProcess, type ManagedProcess } from "./managed-process.ts";

const StackFile = z.object({
  version: z.literal(1),
  processes: z.array(z.object({ name: z.string(), pid: z.int().positive(), startTime: z.string() })),
});

export type ProcessRecord = z.output<typeof StackFile>["processes"][number];

/** The processes that a run of the local deployment recorded; none where there is no usable record. */
export async function readStackFile(path: string): Promise<readonly ProcessRecord[]> {
  const text = await readTextIfExists(path);
  if (text === undefined) return [];
  try {
    return StackFile.parse(JSON.parse(text)).processes;
  } catch {
    // Written by another version or cut short by a full disk: what still runs is found by its ports.
    return [];
  }
}

/** Recorded before the next process is started, so that a kill at any moment leaves no orphan unknown. */
export async function recordProcesses(path: string, processes: readonly ManagedProcess[]): Promise<void> {
  await writeJsonAtomic(path, {
    version: 1,
    processes: processes.map(({ name, pid, startTime }) => ({ name, pid, startTime })),
  });
}

/** Stops what an earlier run left behind, newest first. Returns the names of what was still running. */
export async function stopRecorded(path: string): Promise<readonly string[]> {
  const left = (await readStackFile(path)).filter(isRunning);
  for (const record of left.toReversed()) await stopProcess(record);
  await removeIfExists(path);
  return left.map(({ name }) => name);
}
