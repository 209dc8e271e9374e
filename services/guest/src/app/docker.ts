import { access, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readTextIfExists } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { startDaemon, type Daemon } from "../system/daemon.ts";
import { dockerApi, type DockerApi } from "./docker-api.ts";
import { GuestError } from "../errors.ts";
import type { RunProgram } from "../system/run-program.ts";

const CONTAINERD_SOCKET = "/run/containerd/containerd.sock";
const READY_TIMEOUT_MS = 240_000;

/**
 * Starts containerd with everything of it in RAM: dockerd keeps images and volumes itself, so
 * containerd need not wait for the encrypted disk.
 */
export async function startContainerd(runFolder: string, log: Logger): Promise<Daemon> {
  await mkdir(runFolder, { recursive: true });
  const config = join(runFolder, "containerd.toml");
  await writeFile(
    config,
    [
      "version = 2",
      'root = "/run/containerd/root"',
      'state = "/run/containerd/state"',
      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri"]',
      "[grpc]",
      `address = "${CONTAINERD_SOCKET}"`,
      "",
    ].join("\n"),
  );
  return startDaemon("containerd", ["--config", config, "--log-level", "warn"], log);
}

export interface DockerOptions {
  readonly configPath: string;
  readonly socketPath: string;
  /** Docker's state lives here, on the encrypted disk. */
  readonly dataFolder: string;
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
}

/** Starts dockerd on the encrypted disk. */
export async function startDocker(options: DockerOptions): Promise<Docker> {
  await mkdir(options.dataFolder, { recursive: true, mode: 0o710 });
  await mkdir("/var/lib/docker", { recursive: true, mode: 0o710 });
  await options.run("mount", ["--rbind", options.dataFolder, "/var/lib/docker"]);
  await writeDockerConfig(options.configPath, options.registryMirror);
  const daemon = startDaemon(
    "dockerd",
    [
      "--config-file",
      options.configPath,
      "--containerd",
      CONTAINERD_SOCKET,
      "-H",
      `unix://${options.socketPath}`,
      "--log-level",
      "warn",
    ],
    options.log,
  );
  const api = dockerApi(options.socketPath);
  return { daemon, api, ready: () => waitUntilReady(options.socketPath, api, daemon) };
}

/**
 * Docker's configuration with the mirror merged in. A mirror is the host's word and may serve
 * anything under a tag; only digests pin what runs (#616).
 * @throws GuestError `config-invalid`
 */
export function mergeDockerConfig(text: string | undefined, mirror: string | undefined): string {
  let config: unknown;
  try {
    config = text === undefined ? {} : JSON.parse(text);
  } catch (cause) {
    throw new GuestError("config-invalid", "Invalid daemon.json", { cause });
  }
  if (typeof config !== "object" || config === null || Array.isArray(config))
    throw new GuestError("config-invalid", "Invalid daemon.json: expected an object");
  // Packet filter rules alone publish ports: a proxy process for each would do nothing but start slowly.
  const merged: Record<string, unknown> = { "userland-proxy": false, ...config, ipv6: false, ip6tables: false };
  if (mirror !== undefined) {
    const url = parseMirror(mirror);
    merged["registry-mirrors"] = [mirror];
    if (url.protocol === "http:") merged["insecure-registries"] = [url.host];
  }
  return JSON.stringify(merged);
}

async function writeDockerConfig(path: string, mirror: string | undefined): Promise<void> {
  await writeFile(path, mergeDockerConfig(await readTextIfExists(path), mirror));
}

function parseMirror(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") {
    throw new GuestError(
      "config-invalid",
      `docker_registry ${JSON.stringify(text.slice(0, 120))}: expected an http or https URL without credentials`,
    );
  }
  return url;
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
