/**
 * The supervisor as a program: it owns the VMs' processes, so that the VMM can come and go. In:
 * calls on its Unix socket (routes.ts). Out: processes in sessions of their own, each recorded
 * (records.ts) so that the next supervisor finds it. Never: knowledge of what a process is for.
 */
import { VERSION_TEXT } from "@dstack/proto/wire";
import { spawn } from "node:child_process";
import { mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { asRefusal, errorChain, isCoded } from "@dstack/errors";
import { lockFile, removeIfExists, writeFileAtomic } from "@dstack/files";
import { createLogger, outliveStrays } from "@dstack/log";
import { startHttpServer } from "@dstack/rpc";
import { SupervisorError } from "./errors.ts";
import { readOptions, type SupervisorOptions } from "./options.ts";
import { createProcessTable } from "./process-table.ts";
import { recordStore } from "./records.ts";
import { supervisorRoutes } from "./routes.ts";

async function main(): Promise<void> {
  // Sockets, logs and records are for our own user alone, from their first moment.
  process.umask(0o077);
  const args = process.argv.slice(2);
  const options = await readOptions(args, createLogger({ name: "supervisor", env: process.env }));
  if (options.detach) {
    const own = args.filter((arg) => arg !== "--detach" && arg !== "-d");
    spawn(process.execPath, [...process.execArgv, "--", import.meta.filename, ...own], {
      detached: true,
      stdio: "ignore",
    }).unref();
    return;
  }
  await serve(options);
}

async function serve(options: SupervisorOptions): Promise<void> {
  for (const path of [options.socketPath, options.pidFile, options.logFile]) {
    if (path !== undefined) mkdirSync(dirname(path), { recursive: true });
  }
  const log = createLogger({
    name: "supervisor",
    env: process.env,
    ...(options.logFile === undefined ? {} : { stream: appendTo(options.logFile) }),
  });
  outliveStrays(log);
  const lock = await asRefusal(
    () => lockFile(`${options.socketPath}.lock`),
    (cause) =>
      isCoded(cause, "locked")
        ? new SupervisorError("already-served", `another supervisor serves this socket already: ${cause.message}`, {
            cause,
          })
        : undefined,
  );
  const table = await createProcessTable({
    store: recordStore(`${options.socketPath}.processes`, log),
    log,
    clock: Date,
  });

  let ending = false;
  /** Never rejects: what it cannot clean up is said, and its exit code too. */
  const end = async (): Promise<void> => {
    if (ending) return;
    ending = true;
    try {
      await cleanUp();
      log.info("supervisor ended");
      process.exit(0);
    } catch (error) {
      log.error({ error: errorChain(error) }, "supervisor ended, and left files behind");
      process.exit(1);
    }
  };
  const cleanUp = async (): Promise<void> => {
    await server.close();
    await removeIfExists(options.socketPath);
    if (options.pidFile !== undefined) await removeIfExists(options.pidFile);
    await lock.release();
  };
  const server = await startHttpServer({
    listen: { path: options.socketPath, mode: 0o600 },
    routes: supervisorRoutes(table, log, () => void end()),
    headers: { "x-app-version": VERSION_TEXT },
    log,
  });
  if (options.pidFile !== undefined) await writeFileAtomic(options.pidFile, String(process.pid), { mode: 0o644 });
  log.info({ socket: options.socketPath, processes: table.list().length }, "supervisor ready");

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.info({ signal }, "stopping all processes");
      void table
        .shutdown()
        .catch((error: unknown) => log.error({ error: errorChain(error) }, "not all processes could be stopped"))
        .then(end);
    });
  }
  // A terminal that goes away must not take VMs along.
  process.on("SIGHUP", () => undefined);
}

function appendTo(path: string): { write(text: string): void } {
  const file = openSync(path, "a", 0o600);
  return { write: (text) => void writeSync(file, text) };
}

main().catch((error: unknown) => {
  process.stderr.write(`supervisor: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
