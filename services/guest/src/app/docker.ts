import { access, mkdir, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { readTextIfExists } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { startDaemon, type Daemon } from "../system/daemon.ts";
import { GuestError } from "../errors.ts";
import type { RunProgram } from "../system/run-program.ts";
import { CONTAINERD_SOCKET } from "./containerd.ts";
import { dockerApi, type DockerApi } from "./docker-api.ts";
import { mergeDockerConfig } from "./docker-config.ts";

const READY_TIMEOUT_MS = 240_000;

export interface DockerOptions {
  readonly configPath: string;
  readonly socketPath: string;
  /** Docker's state lives here, on the encrypted disk. */
  readonly dataFolder: string;
  /** Where Docker expects it: /var/lib/docker. */
  readonly mountPoint: string;
  /** URL of a mirror for Docker Hub, where the host offers one. */
  readonly registryMirror: string | undefined;
  readonly run: RunProgram;
  readonly log: Logger;
}

export interface Docker {
  readonly daemon: Daemon;
  readonly api: DockerApi;
  /** @throws GuestError `docker-failed` when Docker does not come up in time */
  ready(): Promise<void>;
  /** From now on what there is belongs to the present app: Docker, should it end and be started again, revives it. */
  settle(): void;
}

/** Starts dockerd on the encrypted disk; no container starts with it. @throws GuestError `config-invalid` */
export async function startDocker(options: DockerOptions): Promise<Docker> {
  const { configPath, socketPath, dataFolder, mountPoint, registryMirror, run, log } = options;
  await mkdir(dataFolder, { recursive: true, mode: 0o710 });
  await mkdir(mountPoint, { recursive: true, mode: 0o710 });
  await run("mount", ["--rbind", dataFolder, mountPoint]);
  await writeFile(configPath, mergeDockerConfig(await readTextIfExists(configPath), registryMirror));
  const sockets = ["--containerd", CONTAINERD_SOCKET, "-H", `unix://${socketPath}`];
  const args = ["--config-file", configPath, ...sockets, "--log-level", "warn"];
  let isSettled = false;
  const daemon = startDaemon("dockerd", () => (isSettled ? args : [...args, "--restart=false"]), log);
  const api = dockerApi(socketPath);
  return {
    daemon,
    api,
    ready: () => waitUntilReady(socketPath, api, daemon),
    settle: () => {
      isSettled = true;
    },
  };
}

/** The socket is there long before Docker answers on it: one question waits for that. */
async function waitUntilReady(socketPath: string, api: DockerApi, daemon: Daemon): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    try {
      await access(socketPath);
      await api.call("GET", "/_ping", 30_000);
      return;
    } catch (cause) {
      if (Date.now() > deadline)
        throw new GuestError(
          "docker-failed",
          `Docker did not come up within ${READY_TIMEOUT_MS / 1000} s: ${daemon.tail()}`,
          { cause },
        );
    }
    await sleep(100);
  }
}
