import { spawn } from "node:child_process";
import { constants } from "node:os";
import { readFileSync } from "node:fs";

const PASSED_ON = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"];

/**
 * Runs the program this was all for in this process's place: a bootstrap that stayed would hold as much memory as an
 * idle Node for as long as a daemon runs. Node before 22.15 cannot: there it stays, passes signals on and gives the
 * program's exit code (128 + n where a signal ended it). The arguments are the program's own: without the dashes Node
 * would read `--env-file` among them, and a NODE_OPTIONS in that file would run code in the program.
 *
 * @param {import("./context.mjs").Context} context
 * @param {string} node
 * @param {string[]} args
 * @returns {Promise<number>}
 */
export function handOver(context, node, args) {
  const argv = ["--", ...args];
  if (process.execve !== undefined) process.execve(node, [node, ...argv], context.env);
  return new Promise((resolve, reject) => {
    const child = spawn(node, argv, { stdio: "inherit", env: context.env });
    const pass = (signal) => {
      // Ctrl-C already reached every process of the terminal; a second copy would look like impatience.
      if (signal === "SIGINT" && inForeground()) return;
      child.kill(signal);
    };
    for (const signal of PASSED_ON) process.on(signal, pass);
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      for (const name of PASSED_ON) process.off(name, pass);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}

// Fields 5 and 8 of /proc/self/stat: our process group and the terminal's foreground one.
function inForeground() {
  const stat = readFileSync("/proc/self/stat", "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[2] === fields[5];
}
