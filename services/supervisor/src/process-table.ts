import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@dstack/log";
import { SupervisorError } from "./errors.ts";
import { adoptProcess, spawnProcess, type LiveProcess } from "./managed-process.ts";
import type { ProcessConfig, ProcessInfo, ProcessState } from "./process-config.ts";
import type { RecordStore } from "./records.ts";

export interface ProcessTable {
  deploy(config: ProcessConfig): Promise<void>;
  start(id: string): Promise<void>;
  stop(id: string): Promise<void>;
  remove(id: string): Promise<void>;
  list(): ProcessInfo[];
  info(id: string): ProcessInfo | undefined;
  /** Forgets all processes; running ones are killed. */
  clear(): Promise<void>;
  /** Refuses new deploys and stops all. @throws SupervisorError `stop-failed` */
  shutdown(): Promise<void>;
}

interface Entry {
  readonly config: ProcessConfig;
  state: ProcessState;
  live: LiveProcess | undefined;
  /** Settles when the running process has ended and the state says so. */
  ended: Promise<void>;
}

const STOP_WAIT_MS = 10_000;
const SHUTDOWN_ROUNDS = 10;

export interface ProcessTableOptions {
  readonly store: RecordStore;
  readonly log: Logger;
  readonly clock: { now(): number };
}

/**
 * The processes and their states. Each is recorded before its deploy counts, so that the next
 * supervisor finds it again, should this one be killed.
 */
export async function createProcessTable({ store, log, clock }: ProcessTableOptions): Promise<ProcessTable> {
  const entries = new Map<string, Entry>();
  const queues = new Map<string, Promise<unknown>>();
  let frozen = false;
  const nowSeconds = (): number => Math.floor(clock.now() / 1000);

  /** One change at a time per id. */
  const serialised = async <T>(id: string, work: () => Promise<T>): Promise<T> => {
    const before = queues.get(id) ?? Promise.resolve();
    const mine = before.then(work, work);
    queues.set(id, mine);
    try {
      return await mine;
    } finally {
      if (queues.get(id) === mine) queues.delete(id);
    }
  };

  const save = (entry: Entry): Promise<void> =>
    store.save({
      version: 1,
      config: entry.config,
      started: entry.state.started,
      identity: entry.live?.identity ?? null,
      startedAt: entry.state.started_at,
    });

  const watch = (entry: Entry, live: LiveProcess): void => {
    entry.live = live;
    entry.ended = live.exited.then((raw) => {
      entry.live = undefined;
      const status = !entry.state.started
        ? "stopped"
        : raw === undefined
          ? { error: "ended; its exit status went to an earlier supervisor" }
          : { exited: raw };
      entry.state = { ...entry.state, status, stopped_at: nowSeconds() };
      log.info({ id: entry.config.id, pid: live.identity.pid, status }, "process ended");
    });
  };

  const launch = async (config: ProcessConfig): Promise<void> => {
    const live = await spawnProcess(config);
    const entry: Entry = {
      config,
      live: undefined,
      ended: Promise.resolve(),
      state: { status: "running", started: true, pid: live.identity.pid, started_at: nowSeconds(), stopped_at: null },
    };
    watch(entry, live);
    try {
      await save(entry);
    } catch (cause) {
      live.kill();
      throw new SupervisorError(
        "not-spawned",
        `process ${config.id} cannot be recorded and was stopped: ${(cause as Error).message}`,
        { cause },
      );
    }
    entries.set(config.id, entry);
    log.info({ id: config.id, name: config.name, pid: live.identity.pid }, "process started");
  };

  const find = (id: string): Entry => {
    const entry = entries.get(id);
    if (entry === undefined) throw new SupervisorError("not-found", "Process not found");
    return entry;
  };

  const mustNotRun = (entry: Entry | undefined): void => {
    if (entry?.live !== undefined) throw new SupervisorError("already-running", "Process is already running");
  };

  const mayLaunch = (): void => {
    if (frozen) throw new SupervisorError("frozen", "Supervisor is freezed");
  };

  const stopNow = async (entry: Entry): Promise<void> => {
    entry.state = { ...entry.state, started: false };
    if (entry.live === undefined) {
      const { status } = entry.state;
      if (typeof status === "object" && "exited" in status && status.exited === 0)
        entry.state = { ...entry.state, status: "stopped" };
    } else {
      entry.live.kill();
      // Tearing down a large VM can outlast any request; the state tells when it is over.
      await Promise.race([entry.ended, sleep(STOP_WAIT_MS, undefined, { ref: false })]);
    }
    await save(entry);
  };

  for (const record of await store.load()) {
    const live = record.identity === null ? undefined : adoptProcess(record.identity);
    const status =
      live !== undefined ? "running" : record.started ? { error: "ended while no supervisor ran" } : "stopped";
    const entry: Entry = {
      config: record.config,
      live: undefined,
      ended: Promise.resolve(),
      state: {
        status,
        started: record.started,
        pid: record.identity?.pid ?? null,
        started_at: record.startedAt,
        stopped_at: live === undefined ? nowSeconds() : null,
      },
    };
    if (live !== undefined) watch(entry, live);
    entries.set(record.config.id, entry);
    log.info(
      { id: record.config.id, pid: record.identity?.pid, status },
      live === undefined ? "process of an earlier supervisor is gone" : "process of an earlier supervisor found again",
    );
  }

  return {
    deploy: (config) =>
      serialised(config.id, async () => {
        mayLaunch();
        if (config.id === "") throw new SupervisorError("id-empty", "Process ID is empty");
        mustNotRun(entries.get(config.id));
        await launch(config);
      }),
    start: (id) =>
      serialised(id, async () => {
        mayLaunch();
        const entry = find(id);
        mustNotRun(entry);
        await launch(entry.config);
      }),
    stop: (id) => serialised(id, () => stopNow(find(id))),
    remove: (id) =>
      serialised(id, async () => {
        const entry = find(id);
        if (entry.state.started) throw new SupervisorError("still-started", "Process is started");
        if (entry.live !== undefined) throw new SupervisorError("still-running", "Process is running");
        await store.remove(id);
        entries.delete(id);
      }),
    list: () => [...entries.values()].map(({ config, state }) => ({ config, state })),
    info: (id) => {
      const entry = entries.get(id);
      return entry === undefined ? undefined : { config: entry.config, state: entry.state };
    },
    clear: async () => {
      for (const id of entries.keys()) {
        await serialised(id, async () => {
          const entry = entries.get(id);
          if (entry === undefined) return;
          await stopNow(entry);
          await store.remove(id);
          entries.delete(id);
        });
      }
    },
    shutdown: async () => {
      frozen = true;
      for (let round = 0; round < SHUTDOWN_ROUNDS; round++) {
        const running = [...entries.values()].filter((entry) => entry.live !== undefined);
        if (running.length === 0) return;
        await Promise.all(running.map((entry) => serialised(entry.config.id, () => stopNow(entry))));
        await sleep(50 + 200 * round);
      }
      const left = [...entries.values()].filter((entry) => entry.live !== undefined).length;
      if (left > 0) throw new SupervisorError("stop-failed", `Failed to stop ${left} processes`);
    },
  };
}
