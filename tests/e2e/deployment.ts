import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, link, mkdir, readdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { cleanUp, stopEverything } from "../../cli/src/stack/cleanup.ts";
import { ensureWildcardCertificate } from "../../cli/src/local/development-keys.ts";
import { publishHelloImage } from "../../cli/src/stack/hello-image.ts";
import { stackLayout, type StackLayout } from "../../cli/src/local/layout.ts";
import { createServices, type Services } from "../../cli/src/stack/services.ts";

export const IMAGE = "dstack-sim-0.6.0";
const ROOT = join(import.meta.dirname, "../..");

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A local deployment with its own state, ports and copy of the guest image. */
export interface Deployment {
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
  const { images } = stackLayout(process.env);
  if (!existsSync(join(images, IMAGE, "metadata.json"))) return `needs the guest image ${IMAGE}: ./dstack image build`;
  return undefined;
}

export async function createDeployment(portBase: number): Promise<Deployment> {
  // Named by its ports, so that what a killed run left behind is found and stopped by the next.
  const state = `/tmp/dstack-e2e-${portBase}`;
  const cacheOfUser = stackLayout(process.env).cache;
  // Own images and KMS cache, so that a test may damage them; tools and QEMU are the user's.
  const cache = join(state, "cache", "dstack");
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    XDG_STATE_HOME: state,
    XDG_CACHE_HOME: join(state, "cache"),
    DSTACK_PORT_BASE: String(portBase),
    DSTACK_QEMU_DIR: process.env["DSTACK_QEMU_DIR"] ?? join(cacheOfUser, "qemu", "current", "bin"),
  };
  const layout = stackLayout(env);
  await stopEverything(layout, env);
  await rm(state, { recursive: true, force: true });
  await mkdir(join(cache, "images", IMAGE), { recursive: true });
  await copyImage(join(cacheOfUser, "images"), join(cache, "images"));
  await cp(join(cacheOfUser, "tools"), join(cache, "tools"), { recursive: true, verbatimSymlinks: true });
  await symlink(join(cacheOfUser, "image-build"), join(cache, "image-build"));
  const stopped = new AbortController();
  const services = createServices(layout, env, stopped.signal);
  return {
    layout,
    env,
    services,
    start: async () => {
      await mkdir(layout.logs, { recursive: true });
      await cleanUp(layout, () => undefined);
      await services.startCollateral();
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
      await stopEverything(layout, env);
      await rm(state, { recursive: true, force: true });
    },
  };
}

/** The command line as a user runs it. */
export function runCli(args: readonly string[], env: NodeJS.ProcessEnv): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, "cli/src/main.ts"), ...args], {
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
