/** What a process holds, seen from outside: descriptors and memory from /proc, the heap after a collection by its inspector. */
import { readdirSync, readFileSync } from "node:fs";
import { sleep } from "./wire-client.ts";

export interface VitalSigns {
  readonly descriptors: number;
  readonly rssBytes: number;
  /** Reachable, buffers included. */
  readonly heapBytes: number;
}

export interface Patient {
  measure(): Promise<VitalSigns>;
  detach(): void;
}

interface HeapUsage {
  readonly usedSize: number;
  readonly backingStorageSize?: number;
}

/** Connections that are kept for the next use, timers' files, and what a collection leaves. */
const SPARE_DESCRIPTORS = 6;
const SPARE_HEAP_BYTES = 5 * 1024 * 1024;
const SPARE_RSS_BYTES = 96 * 1024 * 1024;
const HEAP_BYTES_PER_REQUEST = 2 * 1024;
const RSS_BYTES_PER_REQUEST = 16 * 1024;

/** @param inspector the address that Node tells at start with --inspect */
export async function attach(pid: number, inspector: string): Promise<Patient> {
  const socket = new WebSocket(inspector);
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error(`no inspector at ${inspector}`)));
  });
  const open = new Map<number, (result: unknown) => void>();
  socket.addEventListener("message", ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown };
    if (id !== undefined) open.get(id)?.(result);
  });
  socket.addEventListener("close", () => {
    for (const resolve of open.values()) resolve(undefined);
  });
  let calls = 0;
  const call = (method: string): Promise<unknown> =>
    new Promise((resolve) => {
      const id = ++calls;
      open.set(id, (result) => {
        open.delete(id);
        resolve(result);
      });
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ id, method }));
      else resolve(undefined);
    });
  return {
    measure: async () => {
      await call("HeapProfiler.collectGarbage");
      const usage = (await call("Runtime.getHeapUsage")) as HeapUsage | undefined;
      return {
        descriptors: descriptorsOf(pid),
        rssBytes: rssOf(pid),
        heapBytes: (usage?.usedSize ?? 0) + (usage?.backingStorageSize ?? 0),
      };
    },
    detach: () => socket.close(),
  };
}

/** Waits until a process holds what it held before. @returns what it still holds too much of, undefined where nothing */
export async function leftOver(
  patient: Patient,
  before: VitalSigns,
  requests: number,
  settleMs: number,
): Promise<string | undefined> {
  const deadline = performance.now() + settleMs;
  for (;;) {
    const problem = excess(await patient.measure(), before, requests);
    if (problem === undefined || performance.now() > deadline) return problem;
    await sleep(500);
  }
}

function excess(now: VitalSigns, before: VitalSigns, requests: number): string | undefined {
  if (now.descriptors > before.descriptors + SPARE_DESCRIPTORS)
    return `${now.descriptors} descriptors after ${requests} requests, ${before.descriptors} before`;
  if (now.heapBytes > before.heapBytes + SPARE_HEAP_BYTES + requests * HEAP_BYTES_PER_REQUEST)
    return `${mib(now.heapBytes)} of heap after ${requests} requests, ${mib(before.heapBytes)} before`;
  if (now.rssBytes > before.rssBytes + SPARE_RSS_BYTES + requests * RSS_BYTES_PER_REQUEST)
    return `${mib(now.rssBytes)} resident after ${requests} requests, ${mib(before.rssBytes)} before`;
  return undefined;
}

export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

const rssOf = (pid: number): number =>
  1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
