import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@dstack/log";
import { startDaemon, type Daemon } from "../system/daemon.ts";

export const CONTAINERD_SOCKET = "/run/containerd/containerd.sock";

/** What Docker has no use for: Kubernetes, tracing, and ways to keep images that Docker keeps itself. */
const DISABLED_PLUGINS = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.nri.v1.nri",
];

const CONFIG = `version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
disabled_plugins = [${DISABLED_PLUGINS.map((name) => `"${name}"`).join(", ")}]
[grpc]
address = "${CONTAINERD_SOCKET}"
`;

/**
 * Starts containerd with everything of it in RAM: dockerd keeps images and volumes itself, so
 * containerd need not wait for the encrypted disk.
 */
export async function startContainerd(runFolder: string, log: Logger): Promise<Daemon> {
  await mkdir(runFolder, { recursive: true });
  const path = join(runFolder, "containerd.toml");
  await writeFile(path, CONFIG);
  return startDaemon("containerd", () => ["--config", path, "--log-level", "warn"], log);
}
