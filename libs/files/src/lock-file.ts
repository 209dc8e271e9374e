/**
 * One holder at a time of whatever a lock file guards.
 * In: the lock's path. Out: the lock, or who holds it.
 * The lock is flock(2) on an open descriptor, so that it ends with its holder however that ended,
 * and in the file stands "PID STARTTIME", for people and for versions that know no more than that.
 * Never: two holders, also where a dead one left its file behind.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from "node:fs";
import { link, rename, unlink, writeFile } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isCoded } from "@dstack/errors";
import { processStartTime } from "@dstack/process";
import { systemCalls, type SystemCalls } from "@dstack/system-calls";
import { FileLockError } from "./errors.ts";
import { removeIfExists } from "./write-atomic.ts";

export interface FileLock {
  release(): Promise<void>;
}

const ATTEMPTS = 64;
const TAKING_MS = 5_000;

/**
 * Takes the lock. A dead holder's is free at once; without node:ffi it is refused instead, since to
 * remove its file is a race that two starters can both win.
 * @throws FileLockError
 */
export async function lockFile(path: string): Promise<FileLock> {
  const calls = systemCalls();
  return calls.kind === "here" ? lockByDescriptor(path, calls.flock) : lockByName(path);
}

export interface LockWait {
  readonly timeoutMs: number;
  readonly pauseMs: number;
  /** Called once, where somebody else holds it. */
  readonly onWait?: () => void;
}

/**
 * As `lockFile`, after waiting for a living holder.
 * @throws FileLockError `locked` after the deadline, `left-behind` at once
 */
export async function lockFileWhenFree(path: string, { timeoutMs, pauseMs, onWait }: LockWait): Promise<FileLock> {
  const deadline = performance.now() + timeoutMs;
  for (let first = true; ; first = false) {
    try {
      return await lockFile(path);
    } catch (error) {
      if (!isCoded(error, "locked") || performance.now() >= deadline) throw error;
      if (first) onWait?.();
      await sleep(pauseMs);
    }
  }
}

/**
 * Removes the lock file of a holder that is gone, for an operator who says so: the way out where
 * there is no node:ffi. What a living holder has is left as it is.
 */
export async function freeDeadLock(path: string): Promise<"freed" | "free" | "alive"> {
  const holder = holderOf(path);
  if (holder === undefined) return "free";
  if (holder.alive) return "alive";
  if (systemCalls().kind === "absent") return removeDead(path);
  try {
    await (await lockFile(path)).release();
    return "freed";
  } catch (error) {
    if (error instanceof FileLockError) return "alive";
    throw error;
  }
}

export interface LockHolder {
  /** 0 where no process is named. */
  readonly pid: number;
  /** In clock ticks since boot: with the pid it names the process for good. */
  readonly startTime: string;
  readonly alive: boolean;
}

/** Who stands in a lock file, and whether that process still lives; undefined where there is no file. */
export function holderOf(path: string): LockHolder | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const [pid = "", startTime = ""] = text.trim().split(" ");
  const known = /^[1-9]\d{0,9}$/.test(pid);
  return { pid: known ? Number(pid) : 0, startTime, alive: known && processStartTime(Number(pid)) === startTime };
}

/**
 * Between the look and the removal somebody else may have freed the lock and taken it: so the file
 * is moved aside, looked at again, and put back where it is another.
 */
async function removeDead(path: string): Promise<"freed" | "free" | "alive"> {
  const seen = statSync(path, { throwIfNoEntry: false });
  if (seen === undefined) return "free";
  if (isBeingTaken(path)) return "alive";
  const aside = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "free";
    throw error;
  }
  try {
    const moved = statSync(aside);
    if (moved.ino === seen.ino && holderOf(aside)?.alive === false && !isBeingTaken(aside)) return "freed";
    await link(aside, path);
    return "alive";
  } finally {
    await unlink(aside);
  }
}

/** Whoever locks by a descriptor makes an empty file first, and is in it a moment later. */
function isBeingTaken(path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  return there !== undefined && there.size === 0 && Date.now() - there.mtimeMs < TAKING_MS;
}

function lockByDescriptor(path: string, flock: Extract<SystemCalls, { kind: "here" }>["flock"]): FileLock {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    // A number and not a FileHandle, which the garbage collector closes, and the lock with it.
    const fd = openSync(path, "a+", 0o600);
    try {
      if (flock(fd) === "held") throw locked(path, holderOf(path)?.pid ?? 0);
      // Whoever frees a lock removes its file: this one may be no longer the one that others open.
      if (isFileAt(path, fd)) {
        const holder = holderOf(path);
        // Held by the version before, or by a process without node:ffi: these lock by the text alone.
        // Our own line is of an attempt of ours that lost its file: the descriptor's lock is what counts.
        if (holder?.alive === true && holder.pid !== process.pid) throw locked(path, holder.pid);
        ftruncateSync(fd);
        writeSync(fd, ownLine());
        // Who frees a dead holder's lock without node:ffi may have taken the file meanwhile.
        if (isFileAt(path, fd)) return onceReleased(() => releaseDescriptor(path, fd));
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
  throw locked(path, 0);
}

/** The file goes while the lock is still held, so that nobody else's is removed. */
function releaseDescriptor(path: string, fd: number): void {
  if (isFileAt(path, fd)) unlinkSync(path);
  closeSync(fd);
}

function isFileAt(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const ours = fstatSync(fd);
  return there !== undefined && there.dev === ours.dev && there.ino === ours.ino;
}

async function lockByName(path: string): Promise<FileLock> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  await writeFile(temporary, ownLine(), { mode: 0o600 });
  try {
    // link() fails when the target exists, and the content is there from the first moment.
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const holder = holderOf(path);
    if (holder === undefined || holder.alive || isBeingTaken(path)) throw locked(path, holder?.pid ?? 0);
    throw new FileLockError(
      "left-behind",
      `${path} was left behind by process ${holder.pid}, which is gone; see that nobody uses what it guards, then free it with: dstack doctor --unlock ${path}`,
      { facts: { pid: holder.pid } },
    );
  } finally {
    await unlink(temporary);
  }
  return onceReleased(() => removeIfExists(path));
}

/** A second call does nothing: the descriptor's number, or the name, may be another's by then. */
function onceReleased(free: () => void | Promise<void>): FileLock {
  let done: Promise<void> | undefined;
  return { release: () => (done ??= Promise.resolve(free())) };
}

const ownLine = (): string => `${process.pid} ${processStartTime(process.pid) ?? "0"}\n`;

const locked = (path: string, pid: number): FileLockError =>
  new FileLockError("locked", `${path} is held by ${pid === 0 ? "another process" : `process ${pid}`}`, {
    facts: { pid },
  });
