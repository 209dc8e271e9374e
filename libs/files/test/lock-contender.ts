/** A process that tries for a lock whenever it is told to, and says how it went. Frees it when told to. */
import { spawn } from "node:child_process";
import { FileLockError, lockFile, type FileLock } from "@dstack/files";

export type Order = { readonly take: string } | "free" | "spawn";

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
  try {
    lock = await lockFile(message.take);
    return "won";
  } catch (error) {
    return error instanceof FileLockError ? "refused" : String(error);
  }
}

process.send?.("ready");
