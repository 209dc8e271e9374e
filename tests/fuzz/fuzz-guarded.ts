import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { fuzz } from "./fuzz-run.ts";
import type { FuzzReport } from "./fuzz-run.ts";
import { MAX_INPUT_BYTES } from "./mutate-bytes.ts";
import { TARGETS } from "./targets/index.ts";

export interface GuardedRun {
  readonly target: string;
  readonly count: number;
  readonly seed: number;
  /** An input that is not done after this time is given up with the whole run. */
  readonly stuckMs?: number;
}

const LOOK_MS = 500;
const STUCK_MS = 20_000;

/**
 * A run in a thread of its own, so that an input on which the reader loops for ever ends as a finding
 * too: the thread leaves each input in shared memory before it reads it.
 */
export async function fuzzGuarded(run: GuardedRun): Promise<FuzzReport> {
  const shared = new SharedArrayBuffer(8 + MAX_INPUT_BYTES * 4);
  const [header, bytes] = viewsOf(shared);
  const worker = new Worker(new URL(import.meta.url), { workerData: { run, shared } });
  let last = -1;
  let since = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<FuzzReport>();
  const watch = setInterval(() => {
    const execution = Atomics.load(header, 0);
    if (execution !== last) {
      last = execution;
      since = performance.now();
    } else if (execution > 0 && performance.now() - since > (run.stuckMs ?? STUCK_MS)) {
      const input = Uint8Array.from(bytes.subarray(0, Atomics.load(header, 1)));
      resolve({
        executions: execution,
        accepted: 0,
        seconds: 0,
        slowestMs: performance.now() - since,
        corpus: 0,
        heapGrowthBytes: 0,
        residentGrowthBytes: 0,
        memoryGrew: false,
        findings: [{ kind: "hang", execution, input, text: "no end in sight; the run was given up" }],
      });
    }
  }, LOOK_MS);
  worker.on("message", resolve);
  worker.on("error", reject);
  try {
    return await promise;
  } finally {
    clearInterval(watch);
    await worker.terminate();
  }
}

function viewsOf(shared: SharedArrayBuffer): [header: Int32Array, bytes: Uint8Array] {
  return [new Int32Array(shared, 0, 2), new Uint8Array(shared, 8)];
}

if (!isMainThread && parentPort !== null) {
  const { run, shared } = workerData as { run: GuardedRun; shared: SharedArrayBuffer };
  const [header, bytes] = viewsOf(shared);
  const target = TARGETS.get(run.target);
  if (target === undefined) throw new Error(`no fuzz target ${run.target}`);
  parentPort.postMessage(
    await fuzz(target, {
      count: run.count,
      seed: run.seed,
      before: (input) => {
        bytes.set(input.subarray(0, bytes.length));
        Atomics.store(header, 1, Math.min(input.length, bytes.length));
        Atomics.add(header, 0, 1);
      },
    }),
    [],
  );
}
