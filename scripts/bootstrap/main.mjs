import { constants } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { checkDisk, checkMemory, checkPlatform, checkPorts, checkRoot, checkTestMachine } from "./checks.mjs";
import { createContext, makeFolders, prependPath } from "./context.mjs";
import { installPackages, missingPackages, toolsFolder, unpackPackages } from "./debian.mjs";
import { Failure } from "./failure.mjs";
import { handOver } from "./hand-over.mjs";
import { withLock } from "./lock.mjs";
import { installModules, modulesInPlace } from "./modules.mjs";
import { installNode, nodeInPlace, pinnedNode } from "./node-runtime.mjs";
import { installQemu, qemuFolder, qemuInPlace } from "./qemu.mjs";

const USAGE = `usage: node scripts/bootstrap.mjs <command>
  start [options]         everything, then \`dstack up\` with these options (npm start -- --once)
  test                    everything, then every test
  prepare                 everything that start needs, and nothing more
  run <script> [args...]  the pinned Node and the npm packages that running needs, then that script
  develop <script> [...]  the same with the packages of development
`;

/**
 * The bootstrap's story: checks, pinned Node, npm packages (development's only where a job needs them), Debian
 * packages, QEMU, hand-over.
 * Sets the exit code; an expected failure is one message with the command that mends it.
 *
 * @param {string[]} argv
 */
export async function main(argv) {
  const say = (line) => process.stderr.write(`${line}\n`);
  const context = createContext({
    root: dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
    env: process.env,
    say,
  });
  const release = stopOnSignals(context);
  try {
    const [command, ...args] = argv;
    const job = JOBS[command];
    if (job === undefined || (job.takesScript && args.length === 0)) {
      process.stderr.write(USAGE);
      process.exitCode = 2;
      return;
    }
    const node = await prepare(context, job);
    release();
    const script = job.script(context, args);
    process.exitCode = script === undefined ? 0 : await handOver(context, node, script);
  } catch (error) {
    process.exitCode = 1;
    const known = error instanceof Failure;
    say(`dstack: ${error.message}`);
    say(`  mend: ${known ? error.mend : "run the same command again; DSTACK_DEBUG=1 shows where it failed"}`);
    if (context.env.DSTACK_DEBUG === "1") say(error.stack);
  } finally {
    release();
  }
}

const JOBS = {
  start: {
    command: "npm start",
    debian: ["start"],
    development: false,
    memory: true,
    ports: true,
    script: (context, args) => [join(context.root, "cli", "src", "main.ts"), "up", ...args],
  },
  test: {
    command: "npm test",
    debian: ["start", "test"],
    development: true,
    memory: true,
    ports: false,
    script: (context, args) => [join(context.root, "scripts", "run-tests.ts"), ...args],
  },
  prepare: {
    command: "node scripts/bootstrap.mjs prepare",
    debian: ["start"],
    development: false,
    memory: false,
    ports: false,
    script: () => undefined,
  },
  run: scriptJob({ development: false }),
  develop: scriptJob({ development: true }),
};

function scriptJob({ development }) {
  return {
    command: "",
    debian: [],
    development,
    memory: false,
    ports: false,
    takesScript: true,
    script: (_context, [script, ...args]) => [resolve(script), ...args],
  };
}

async function prepare(context, job) {
  const wholeHost = job.debian.length > 0;
  checkPlatform();
  if (wholeHost) checkRoot(job.command);
  makeFolders(context);
  if (wholeHost) checkDisk(context);
  if (job.memory) checkMemory();
  if (job.debian.includes("test")) checkTestMachine();
  if (job.ports) await checkPorts(context);

  const { path: node } = pinnedNode(context);
  const inCache = (work) => withLock(context, join(context.cacheDir, "bootstrap.lock"), work);
  await step(
    () => nodeInPlace(context),
    () => installNode(context),
    inCache,
  );
  prependPath(context, dirname(node), toolsFolder(context), qemuFolder(context));
  context.env.DSTACK_QEMU_DIR = qemuFolder(context);
  await step(
    () => modulesInPlace(context, job),
    () => installModules(context, node, job),
    (work) => withLock(context, join(context.root, ".cache", "bootstrap.lock"), work),
  );
  if (!wholeHost) return node;

  await step(
    () => debianInPlace(context, job),
    () => installDebian(context, job),
    inCache,
  );
  await step(
    () => qemuInPlace(context),
    () => installQemu(context),
    inCache,
  );
  return node;
}

// Done work costs a look and no lock; under the lock it is looked at again, for the other one may have done it.
async function step(isDone, work, locked) {
  if (await isDone()) return;
  await locked(async () => {
    if (!(await isDone())) await work();
  });
}

async function debianInPlace(context, { debian }) {
  const { missing, unpack } = await missingPackages(context, debian);
  return missing.length + unpack.length === 0;
}

async function installDebian(context, { debian }) {
  const { missing, unpack } = await missingPackages(context, debian);
  if (missing.length > 0) await installPackages(context, missing);
  const still = (await missingPackages(context, debian)).missing.map((entry) => entry.package);
  if (still.length > 0)
    throw new Failure(
      `apt-get said it was done, yet these are missing: ${still.join(", ")}`,
      `apt-get install ${still.join(" ")}`,
    );
  if (unpack.length > 0) await unpackPackages(context, unpack);
}

/**
 * While the bootstrap works: a signal ends its children, except a package installation, which is
 * waited for (a second signal leaves at once).
 */
function stopOnSignals(context) {
  let asked = false;
  const stop = (signal) => {
    const finishing = [...context.children].filter(([, { mustFinish }]) => mustFinish);
    for (const [child, { mustFinish }] of context.children) if (!mustFinish) child.kill("SIGTERM");
    const leave = () => process.exit(128 + constants.signals[signal]);
    if (asked || finishing.length === 0) leave();
    asked = true;
    context.say("letting the package installation finish first (once more to leave at once)");
    for (const [child] of finishing) child.on("close", leave);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, stop);
  return () => {
    for (const signal of signals) process.off(signal, stop);
  };
}
