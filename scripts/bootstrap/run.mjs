import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

const OUTPUT_CAP = 4 << 20;
const HEARTBEAT_MS = 15_000;

/**
 * Runs a program to its end and keeps what it printed (the last 4 MiB of each stream).
 * The child shares the bootstrap's locks: a second bootstrap waits for it even when this one was
 * killed. Not an error: any exit code. Rejects when it cannot be started or passes its deadline.
 *
 * @param {import("./context.mjs").Context} context
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number, label?: string,
 *   mustFinish?: boolean, onLine?: (line: string) => void}} [options]
 *   `label` turns on a sign of life for long work; `mustFinish` keeps Ctrl-C away from the child;
 *   `onLine` sees each line of its stdout as it comes
 * @returns {Promise<{code: number, stdout: string, stderr: string}>}
 */
export function run(context, command, args, options = {}) {
  const { cwd = context.root, env = context.env, timeoutMs = 60_000, label, mustFinish = false, onLine } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env,
      detached: mustFinish,
      stdio: ["ignore", "pipe", "pipe", ...context.lockFds],
    });
    context.children.set(child, { mustFinish });
    const out = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8");
      child[name].on("data", (text) => {
        out[name] = (out[name] + text).slice(-OUTPUT_CAP);
      });
    }
    let partLine = "";
    child.stdout.on("data", (text) => {
      if (onLine === undefined) return;
      const lines = (partLine + text).slice(-OUTPUT_CAP).split("\n");
      partLine = lines.pop() ?? "";
      lines.forEach(onLine);
    });
    const started = Date.now();
    const heartbeat =
      label === undefined
        ? undefined
        : setInterval(() => {
            context.say(`  ... ${label}, ${Math.round((Date.now() - started) / 1000)} s`);
          }, HEARTBEAT_MS);
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const done = () => {
      clearInterval(heartbeat);
      clearTimeout(deadline);
      context.children.delete(child);
    };
    child.on("error", (error) => {
      done();
      reject(error);
    });
    child.on("close", (code, signal) => {
      done();
      if (late) reject(new Error(`${command} ${args[0] ?? ""} did not end within ${timeoutMs / 1000} s`));
      else
        resolve({
          code: code ?? 128,
          stdout: out.stdout,
          stderr: signal ? `${out.stderr}\n(ended by ${signal})` : out.stderr,
        });
    });
  });
}

/**
 * The full path of a program, or undefined. Looks into the sbin folders as well, where a user's
 * PATH often does not reach.
 *
 * @param {import("./context.mjs").Context} context
 * @param {string} name
 */
export function findProgram(context, name) {
  const folders = (context.env.PATH ?? "").split(delimiter).concat("/usr/local/sbin", "/usr/sbin", "/sbin");
  for (const folder of folders) {
    if (folder === "") continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch (error) {
      if (!["ENOENT", "ENOTDIR", "EACCES"].includes(error.code)) throw error;
    }
  }
  return undefined;
}

/** The last lines of a program's output, for an error message. */
export function tail(/** @type {string} */ text, lines = 12) {
  return text
    .trim()
    .split("\n")
    .slice(-lines)
    .map((line) => `    ${line}`)
    .join("\n");
}
