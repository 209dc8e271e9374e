import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, link, mkdir, readdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import {
  cleanUp,
  COMMAND_LINE,
  createCli,
  createServices,
  ensureWildcardCertificate,
  imageBuildFolder,
  publishHelloImage,
  qemuFolder,
  stopEverything,
  type Cli,
  type Services,
  type StackLayout,
} from "@dstack/cli/testing";

export const IMAGE = "dstack-sim-0.6.0";

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A local deployment with its own state, ports and copy of the guest image. */
export interface Deployment {
  /** As its commands have it. */
  readonly context: Cli;
  readonly layout: StackLayout;
  readonly env: NodeJS.ProcessEnv;
  readonly services: Services;
  /** Starts every service. */
  start(): Promise<void>;
  /** Kills one service with SIGKILL. */
  kill(name: string): void;
  cli(...args: string[]): Promise<CliResult>;
  stop(): Promise<void>;
}

/** Why guests cannot be booted here, or undefined. */
export function cannotBoot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root: the gateway makes a network interface";
  const { images } = createCli(process.env).layout;
  if (!existsSync(join(images, IMAGE, "metadata.json"))) return `needs the guest image ${IMAGE}: ./dstack image build`;
  return undefined;
}

export async function createDeployment(portBase: number): Promise<Deployment> {
  // Named by its ports, so that what a killed run left behind is found and stopped by the next.
  const state = `/tmp/dstack-e2e-${portBase}`;
  const user = createCli(process.env).layout;
  // Own images and KMS cache, so that a test may damage them; tools and QEMU are the user's.
  const cache = join(state, "cache", "dstack");
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    XDG_STATE_HOME: state,
    XDG_CACHE_HOME: join(state, "cache"),
    DSTACK_PORT_BASE: String(portBase),
    DSTACK_QEMU_DIR: qemuFolder(user, process.env),
  };
  const context = createCli(env);
  const { layout } = context;
  await stopEverything(context);
  await rm(state, { recursive: true, force: true });
  await mkdir(join(cache, "images", IMAGE), { recursive: true });
  await copyImage(user.images, layout.images);
  await cp(join(user.cache, "tools"), join(cache, "tools"), { recursive: true, verbatimSymlinks: true });
  await symlink(imageBuildFolder(user), imageBuildFolder(layout));
  const stopped = new AbortController();
  const services = createServices(context, stopped.signal);
  return {
    context,
    layout,
    env,
    services,
    start: async () => {
      await mkdir(layout.logs, { recursive: true });
      await cleanUp(layout, () => undefined);
      await services.startCollateral();
      await services.startKeyProvider();
      await services.startRegistry();
      await publishHelloImage(layout);
      await services.startAuth(() => undefined);
      await services.startKms();
      await ensureWildcardCertificate(layout, Math.floor(Date.now() / 1000));
      await services.startGateway();
      await services.startVmm();
    },
    kill: (name) => {
      const found = services.processes.findLast((child) => child.name === name);
      if (found === undefined) throw new Error(`no service ${name}`);
      process.kill(found.pid, "SIGKILL");
    },
    cli: (...args) => runCli(args, env),
    stop: async () => {
      stopped.abort();
      await stopEverything(context);
      await rm(state, { recursive: true, force: true });
    },
  };
}

/** The command line as a user runs it. */
export function runCli(args: readonly string[], env: NodeJS.ProcessEnv): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--", COMMAND_LINE, ...args], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? -1, stdout, stderr }));
  });
}

/** Hard links where the file system allows: the root file system is large and never written. */
async function copyImage(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (/^mr_[0-9a-f]{64}\.tar\.gz$/.test(name)) await cp(join(from, name), join(to, name));
  }
  for (const name of await readdir(join(from, IMAGE))) {
    const [source, target] = [join(from, IMAGE, name), join(to, IMAGE, name)];
    if (name.startsWith("rootfs")) await link(source, target).catch(() => cp(source, target));
    else await cp(source, target);
  }
}
