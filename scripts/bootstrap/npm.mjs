import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { Failure } from "./failure.mjs";
import { findProgram, run, tail } from "./run.mjs";

/**
 * Runs the user's npm, with the user's own registry and proxy settings, under a given Node.
 *
 * @param {import("./context.mjs").Context} context
 * @param {string} node path of the Node to run it with
 * @param {string[]} args
 * @param {{label: string, timeoutMs: number, what: string}} options `what` names the work in errors
 * @returns {Promise<string>} stdout
 */
export async function npm(context, node, args, { label, timeoutMs, what }) {
  const always = [
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-progress",
    "--no-update-notifier",
    "--loglevel=error",
  ];
  const patience = ["--fetch-retries=2", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=10000"];
  const { code, stdout, stderr } = await run(context, node, [npmCli(context), ...args, ...always, ...patience], {
    label,
    timeoutMs,
  });
  if (code === 0) return stdout;
  throw new Failure(
    `${what} failed (npm ${args[0]}, exit code ${code}):\n${summary(stderr || stdout)}`,
    mendFor(stderr),
  );
}

// The script itself rather than the program `npm`, which may be tied to another Node.
function npmCli(context) {
  const candidates = [
    context.env.npm_execpath,
    findProgram(context, "npm"),
    join(dirname(dirname(process.execPath)), "lib", "node_modules", "npm", "bin", "npm-cli.js"),
  ];
  for (const candidate of candidates) {
    if (!candidate || !existsSync(candidate)) continue;
    const path = realpathSync(candidate);
    if (path.endsWith("npm-cli.js")) return path;
  }
  throw new Failure(
    "npm was not found beside this Node",
    "install Node with its npm (Debian: apt-get install npm), then run the same command again",
  );
}

// npm's first lines say what happened; stack traces, advice and log files follow.
function summary(output) {
  const lines = output.split("\n").map((line) => line.replace(/^npm (?:error|ERR!) ?/, "").trimEnd());
  const telling = lines.filter((line) => line !== "" && !/^\s+at |^npm warn|A complete log/i.test(line)).slice(0, 4);
  return tail(telling.join("\n"));
}

function mendFor(stderr) {
  if (stderr.includes("EUSAGE"))
    return "npm install && node scripts/complete-lockfile.mjs   # or take back the change of package.json";
  if (/ENOSPC/.test(stderr)) return "df -h   # the disk is full: make room and run the same command again";
  if (/ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|E40[13]|network/i.test(stderr)) {
    return "npm ping   # does npm reach its registry? mend the network or npm's settings and run the same command again";
  }
  return "run the same command again; if it fails again: npm cache verify";
}
