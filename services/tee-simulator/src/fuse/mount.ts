/**
 * fuse/ is a file system of attribute files, served by this process.
 * In: a tree whose files are functions; requests of the kernel, as bytes.
 * Out: a mount that answers as sysfs and configfs do.
 * Never: a file made, removed or renamed by whoever mounts it; a request that ends the process.
 */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { systemCode } from "@dstack/errors";
import { SimulatorError } from "../errors.ts";
import { READ_BUFFER } from "./protocol.ts";
import { FuseSession } from "./session.ts";
import type { SimulatedFolder } from "./tree.ts";

/** A served mount. */
export interface FuseMount {
  /** Settles when the file system was unmounted, or fails where the device broke. */
  readonly done: Promise<void>;
}

const MOUNT_TIMEOUT_MS = 20_000;

/**
 * Mounts a tree at a folder and serves it until it is unmounted (`umount FOLDER`). Needs root and the
 * kernel's fuse module. The tree's functions run on this process's event loop; this process must not
 * touch the mount with synchronous calls.
 * @throws SimulatorError `fuse-failed`, `mount-failed`
 */
export async function mountTree(path: string, root: SimulatedFolder): Promise<FuseMount> {
  let device: FileHandle;
  try {
    device = await open("/dev/fuse", "r+");
  } catch (cause) {
    throw new SimulatorError(
      "fuse-failed",
      `/dev/fuse: ${cause instanceof Error ? cause.message : String(cause)}; load the fuse module`,
      { cause },
    );
  }
  try {
    await runMount(path, device.fd);
  } catch (error) {
    await device.close();
    throw error;
  }
  return { done: serve(device, new FuseSession(root)) };
}

async function serve(device: FileHandle, session: FuseSession): Promise<void> {
  const buffer = Buffer.alloc(READ_BUFFER);
  try {
    for (;;) {
      const { bytesRead } = await device.read(buffer, 0, buffer.length, null);
      const answer = session.answer(buffer.subarray(0, bytesRead));
      if (answer !== undefined) await send(device, answer);
    }
  } catch (error) {
    // ENODEV: unmounted, the normal end.
    if (systemCode(error) !== "ENODEV")
      throw new SimulatorError("fuse-failed", `/dev/fuse: ${String(error)}`, { cause: error });
  } finally {
    await device.close();
  }
}

async function send(device: FileHandle, answer: Buffer): Promise<void> {
  try {
    await device.write(answer, 0, answer.length, null);
  } catch (error) {
    // ENOENT: the caller was interrupted and nobody waits for this answer.
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** mount(8) with the device as its descriptor 3: the kernel ties that open device to the mount. */
function runMount(path: string, fd: number): Promise<void> {
  const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other";
  return new Promise((resolve, reject) => {
    const child = spawn("mount", ["-i", "-t", "fuse", "-o", options, "dstack-tee", path], {
      stdio: ["ignore", "ignore", "pipe", fd],
      timeout: MOUNT_TIMEOUT_MS,
    });
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-2000);
    });
    child.once("error", (cause) => reject(new SimulatorError("mount-failed", `mount: ${cause.message}`, { cause })));
    child.once("close", (code) => {
      if (code === 0) resolve();
      else
        reject(
          new SimulatorError(
            "mount-failed",
            `mount of the simulator at ${path} failed (${String(code)}): ${stderr.trim()}`,
          ),
        );
    });
  });
}
