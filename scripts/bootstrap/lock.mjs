import { closeSync, openSync, readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { spawn } from "node:child_process";
import { Failure } from "./failure.mjs";

const WAIT_SECONDS = 1800;

/**
 * Runs `work` while holding an exclusive lock on a file. It is the kernel's flock(2) on a
 * descriptor that this process and the children doing the work share: it can never be stale,
 * and a child that outlives a killed bootstrap still holds it.
 *
 * @template T
 * @param {import("./context.mjs").Context} context
 * @param {string} path made when absent, its content is the holder's pid (for people)
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(context, path, work) {
  mkdirSync(dirname(path), { recursive: true });
  const fd = openSync(path, "a");
  try {
    if (!(await flock(context, fd, ["-n"]))) {
      const holder = readFileSync(path, "utf8").trim();
      context.say(`waiting for another dstack bootstrap${/^\d+$/.test(holder) ? ` (pid ${holder})` : ""} to finish`);
      if (!(await flock(context, fd, ["-w", String(WAIT_SECONDS)]))) {
        throw new Failure(
          `another bootstrap has held ${path} for ${WAIT_SECONDS / 60} minutes`,
          `fuser -v ${path}   # shows who holds it`,
        );
      }
    }
    writeFileSync(path, `${process.pid}\n`);
    context.lockFds.push(fd);
    return await work();
  } finally {
    context.lockFds = context.lockFds.filter((other) => other !== fd);
    closeSync(fd);
  }
}

// flock(1) of util-linux locks the open file description behind its descriptor 3, which is ours.
function flock(context, fd, args) {
  return new Promise((resolve, reject) => {
    const child = spawn("flock", ["-x", ...args, "3"], { stdio: ["ignore", "ignore", "ignore", fd], env: context.env });
    context.children.set(child, { mustFinish: false });
    child.on("error", (error) => {
      context.children.delete(child);
      reject(new Failure(`flock(1) cannot be started (${error.message})`, "apt-get install util-linux", error));
    });
    child.on("close", (code) => {
      context.children.delete(child);
      resolve(code === 0);
    });
  });
}
