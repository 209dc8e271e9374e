/** A process that tries for a lock whenever it is told to, and says how it went. Frees it when told to. */
import { spawn } from "node:child_process";
import { closeSync, openSync, unlinkSync } from "node:fs";
import { FileLockError, freeDeadLock, lockFile, type FileLock } from "@dstack/files";

export type Order =
  | { readonly take: string }
  | { readonly hammer: string; readonly turns: number }
  | { readonly unlock: string }
  | { readonly takeWhenFree: string }
  | "free"
  | "spawn";

let lock: FileLock | undefined;

process.on("message", (message: Order) => {
  void answer(message).then((said) => process.send?.(said));
});

async function answer(message: Order): Promise<string> {
  if (message === "free") {
    await lock?.release();
    lock = undefined;
    return "free";
  }
  if (message === "spawn") return String(spawn("sleep", ["60"], { detached: true, stdio: "ignore" }).pid);
  if ("hammer" in message) return hammer(message.hammer, message.turns);
  if ("unlock" in message) return freeDeadLock(message.unlock);
  if ("takeWhenFree" in message) {
    lock = await whenFree(message.takeWhenFree);
    return "won";
  }
  try {
    lock = await lockFile(message.take);
    return "won";
  } catch (error) {
    return error instanceof FileLockError ? "refused" : String(error);
  }
}

async function whenFree(path: string): Promise<FileLock> {
  for (;;) {
    try {
      return await lockFile(path);
    } catch (error) {
      if (!(error instanceof FileLockError)) throw error;
    }
  }
}

/** Takes and frees the lock as fast as it can. A witness that is there already was left by another holder. */
async function hammer(path: string, turns: number): Promise<string> {
  const witness = `${path}.witness`;
  for (let held = 0; held < turns;) {
    try {
      const mine = await lockFile(path);
      try {
        closeSync(openSync(witness, "wx"));
        unlinkSync(witness);
      } finally {
        await mine.release();
      }
      held++;
    } catch (error) {
      if (!(error instanceof FileLockError)) return String(error);
    }
  }
  return "alone";
}

process.send?.("ready");
