/**
 * app/ is the app itself: its environment, Docker, its containers or its script.
 * In: the manifest, the decrypted environment, the encrypted disk.
 * Out: the app, running; its last words where it does not start.
 * Never: a container that an earlier version left, running under this one's measurement; a start without the secrets that
 * the app was sent.
 */
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import type { BootInputs } from "../host/boot-inputs.ts";
import type { BootContext } from "../system/boot-context.ts";
import { COMPOSE_FILE, startApp, stopApp } from "./app-start.ts";
import { startDocker, type Docker } from "./docker.ts";
import { presentApp } from "./present-app.ts";
import { beginSuccession } from "./succession.ts";

export interface RunningApp {
  readonly docker: Docker;
  /** Whether it is known beyond doubt what the app consists of: only then may what it does not use be deleted. */
  readonly isUnderstood: boolean;
}

/** Starts Docker on the data disk, then the app. @throws GuestError `docker-failed`, `app-failed`, `config-invalid` */
export async function runApp(
  boot: BootContext,
  inputs: BootInputs,
  variables: ReadonlyMap<string, string>,
): Promise<RunningApp> {
  const { paths, run, log } = boot;
  const { compose, composeHash } = inputs.manifest;
  boot.progress("setting up docker");
  const isComposed = compose.runner === "docker-compose";
  const { project, mayLeaveBehind } = await presentApp(compose, variables, "dstack");
  const isUnderstood = !isComposed || project !== undefined;
  if (!isUnderstood)
    log.warn(
      { file: COMPOSE_FILE },
      "it is not known beyond doubt which services there are: no image or volume is removed",
    );
  const dataFolder = join(paths.persistent, "var/lib/docker");
  const succession = await beginSuccession({
    dockerRoot: dataFolder,
    recordPath: join(paths.persistent, "var/lib/dstack/last-app.json"),
    present: { composeHash: toHex(composeHash), mayLeaveBehind },
    project,
    isComposed,
    log,
  });
  const docker = await bringUpDocker(boot, inputs, dataFolder);
  await succession.beforeApp(docker.api);
  if (isComposed) boot.onShutdown(() => stopApp(docker.api, paths.dstack, run, log));
  await startApp({
    compose,
    folder: paths.dstack,
    variables,
    pccsUrl: inputs.systemConfig.pccsUrls[0],
    recreates: succession.recreates,
    run,
    onProgress: boot.progress,
  });
  await succession.afterApp(docker.api);
  docker.settle();
  return { docker, isUnderstood };
}

async function bringUpDocker(boot: BootContext, inputs: BootInputs, dataFolder: string): Promise<Docker> {
  const { paths, run, log } = boot;
  const docker = await startDocker({
    configPath: paths.dockerConfig,
    socketPath: paths.dockerSocket,
    dataFolder,
    mountPoint: paths.dockerData,
    registryMirror: inputs.systemConfig.dockerRegistry,
    run,
    log,
  });
  boot.onShutdown(async () => {
    await docker.daemon.stop(20_000);
    await run("umount", ["-R", paths.dockerData], { okCodes: [0, 32] });
  });
  await docker.ready();
  return docker;
}
