/** A daemon's own main program in a process of its own, and what it says. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../workspaces.ts";
import { sleep } from "./wire-client.ts";
import { attach, type Patient } from "./vital-signs.ts";

/** One listener as it told of itself: its address, how many it serves at a time, and everything that it answers. */
export interface ToldListener {
  readonly address: string;
  readonly maxConnections: number;
  readonly routes: readonly ToldRoute[];
}

export interface ToldRoute {
  readonly verb: string;
  readonly path: string;
  /** Of an RPC: its request's type, and how much of a body it reads. */
  readonly input?: string;
  readonly bodyLimitBytes?: number;
}

export interface DaemonProcess {
  readonly pid: number;
  readonly patient: Patient;
  readonly listeners: readonly ToldListener[];
  /** Lines that no request may cause: failures that nobody handled. */
  readonly stray: readonly string[];
  /** Why it ended, undefined while it lives. */
  ended(): string | undefined;
  /** Its lines that are longer than any should be, those about its routes apart. */
  readonly longLines: readonly string[];
  /** Until a line of its log matches, one of the last that it wrote or one to come. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  /** SIGTERM, and SIGKILL after a while. @returns its exit code */
  stop(limitMs?: number): Promise<number | null>;
}

export interface ProcessOptions {
  /** Relative to the checkout. */
  readonly main: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** It is up when this many listeners told their routes. */
  readonly listeners: number;
}

/** Few, so that the limits that follow from it are reached with few connections. */
const MAY_OPEN_FILES = 700;
const START_MS = 60_000;
const STOP_MS = 15_000;
const STRAY =
  /unhandled|uncaught|nobody handled|failed outside its handler|Warning: Possible EventEmitter memory leak/i;
const TAIL_LINES = 30;
/** A stranger's text takes 256 characters of a line, or four times as many where each is written out. */
const LONG_LINE = 2_048;

/** Starts it and waits for its listeners. */
export async function startProcess(options: ProcessOptions): Promise<DaemonProcess> {
  const command = `ulimit -n ${MAY_OPEN_FILES}; exec "$0" "$@"`;
  const child: ChildProcess = spawn(
    "/bin/sh",
    ["-c", command, process.execPath, "--inspect=127.0.0.1:0", join(ROOT, options.main), ...(options.args ?? [])],
    {
      cwd: options.cwd,
      env: { PATH: process.env["PATH"], TMPDIR: process.env["TMPDIR"], DSTACK_LOG_LEVEL: "debug", ...options.env },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  const tail: string[] = [];
  let patient: Patient | undefined;
  const stray: string[] = [];
  const longLines: string[] = [];
  const listeners: ToldListener[] = [];
  const waiting = new Set<{ readonly pattern: RegExp; readonly found: (match: RegExpExecArray) => void }>();
  createInterface(child.stderr!).on("line", (line) => {
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    // What it dies of makes it wait for its inspector.
    if (line.startsWith("Waiting for the debugger")) patient?.detach();
    if (STRAY.test(line)) stray.push(line.slice(0, 2_000));
    if (line.includes('"routes":[')) listeners.push(JSON.parse(line) as ToldListener);
    else if (line.length > LONG_LINE) longLines.push(line);
    for (const each of waiting) {
      const match = each.pattern.exec(line);
      if (match !== null) each.found(match);
    }
  });
  const ended = (): string | undefined =>
    child.exitCode === null && child.signalCode === null
      ? undefined
      : `${options.main} ended with ${child.exitCode ?? child.signalCode}:\n${tail.join("\n")}`;
  const said = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      for (const line of tail) {
        const match = pattern.exec(line);
        if (match !== null) return resolve(match);
      }
      const one = { pattern, found: resolve };
      waiting.add(one);
      const fail = (): void =>
        reject(new Error(ended() ?? `${options.main} never said ${pattern}:\n${tail.join("\n")}`));
      const timer = setTimeout(fail, START_MS);
      timer.unref();
      child.once("exit", fail);
    });
  const [, inspector = ""] = await said(/Debugger listening on (ws:\S+)/);
  for (let waited = 0; listeners.length < options.listeners; waited += 20) {
    const why = ended();
    if (why !== undefined || waited > START_MS)
      throw new Error(why ?? `${options.main} has ${listeners.length} listeners:\n${tail.join("\n")}`);
    await sleep(20);
  }
  const pid = child.pid!;
  const attached = await attach(pid, inspector);
  patient = attached;
  return {
    pid,
    patient: attached,
    listeners,
    stray,
    longLines,
    ended,
    said,
    stop: async (limitMs = STOP_MS) => {
      attached.detach();
      if (ended() === undefined) {
        const exited = once(child, "exit");
        const late = setTimeout(() => child.kill("SIGKILL"), limitMs);
        child.kill("SIGTERM");
        await exited;
        clearTimeout(late);
      }
      return child.exitCode;
    },
  };
}
