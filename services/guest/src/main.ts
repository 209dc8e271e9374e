/**
 * The guest: one process from the first boot hook to power-off.
 * In: the machine that it runs on; signals; the host's wish to end.
 * Out: a boot and its end, told to the host and on the console.
 * Never: an exit without the way down; a second boot in one process; an end because of what a request did.
 */
import { guestApiService, type Agent, type Tee } from "@dstack/agent";
import { createLogger, outliveStrays } from "@dstack/log";
import { run } from "@dstack/process";
import { errorChain } from "@dstack/errors";
import { GuestTee, teePaths } from "@dstack/tee";
import { readNetworkInfo } from "./agent/network-info.ts";
import { bootGuest } from "./boot.ts";
import { GUEST_ERRORS, GuestError } from "./errors.ts";
import { openHostLink } from "./host/host-link.ts";
import { readImageInfo } from "./system/image-info.ts";
import type { Undo } from "./system/boot-context.ts";
import { GUEST_PATHS } from "./system/paths.ts";
import { stopGuest } from "./shutdown.ts";

const FLUSH_MS = 5_000;

const log = createLogger({ name: "guest", env: process.env });
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const stopping = new AbortController();
const undo: Undo[] = [];
let agent: Agent | undefined;
let ending: Promise<void> | undefined;

const host = await openHostLink({
  service: guestApiService({
    agent: () => agent,
    networkInfo: () => readNetworkInfo(run),
    shutdown: () => end(0, "powering off"),
    log,
  }),
  log,
});

/** Ends the guest once: everything started is stopped in reverse order, then the machine powers off. */
function end(status: number, progress: string | undefined): void {
  ending ??= (async () => {
    if (progress !== undefined) host.notify("shutdown.progress", progress);
    stopping.abort();
    await stopGuest(undo, log);
    await host.flush(FLUSH_MS);
    process.exit(status);
  })();
}

/** A boot that failed says why, to the host and on the console, and powers off: it never loops. */
function fail(error: unknown): void {
  if (stopping.signal.aborted) return;
  const text = errorChain(error);
  const next = error instanceof GuestError ? { next: GUEST_ERRORS[error.code].next } : {};
  log.error({ code: (error as { code?: unknown }).code, ...next }, `boot failed: ${text}`);
  say("[FAILED] Failed to start the app.");
  host.notify("boot.error", text);
  end(1, undefined);
}

for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => end(0, "powering off"));
// Nothing that a request does may end the process that holds the app's keys and disk.
let booted = false;
outliveStrays(log, (event, error) => {
  if (!booted && event === "uncaughtException") fail(error);
});

try {
  const image = await readImageInfo(GUEST_PATHS);
  await bootGuest({
    paths: GUEST_PATHS,
    image,
    host,
    openTee: async (version): Promise<Tee> => {
      const tee = await GuestTee.open(teePaths(process.env, image.isDev));
      return {
        emit: (event, payload) => tee.emit(event, payload, version),
        attest: (reportData, config) => tee.attest(reportData, config),
      };
    },
    run,
    log,
    onShutdown: (step) => undo.push(step),
    stopping: stopping.signal,
    onAgent: (ready) => {
      agent = ready;
    },
    console: say,
  });
  booted = true;
} catch (error) {
  fail(error);
}
