/**
 * app/ is the app itself: its environment, Docker, its containers or its script.
 * In: the manifest, the decrypted environment, the encrypted disk.
 * Out: the app, running; its last words where it does not start.
 * Never: containers of a service that the manifest no longer has; a start without the secrets that the app was sent.
 */
import { join } from "node:path";
import { errorChain } from "@dstack/errors";
import type { BootInputs } from "../host/boot-inputs.ts";
import type { BootContext } from "../system/boot-context.ts";
import { removeOrphans } from "../system/orphans.ts";
import { COMPOSE_FILE, startApp, stopApp } from "./app-start.ts";
import { startDocker, type Docker } from "./docker.ts";
import { presentProject } from "./present-project.ts";

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
  const { compose } = inputs.manifest;
  boot.progress("setting up docker");
  const dataFolder = join(paths.persistent, "var/lib/docker");
  const isUnderstood = await removeOldContainers(boot, inputs, variables, dataFolder);
  const docker = await bringUpDocker(boot, inputs, dataFolder);
  await startApp({
    compose,
    folder: paths.dstack,
    variables,
    pccsUrl: inputs.systemConfig.pccsUrl,
    run,
    onProgress: boot.progress,
  });
  boot.onShutdown(() => stopApp(compose, paths.dstack, run, log));
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

/** Whether the app is understood. Not fatal: Docker itself names what is wrong with a compose file. */
async function removeOldContainers(
  { log }: BootContext,
  { manifest }: BootInputs,
  variables: ReadonlyMap<string, string>,
  dataFolder: string,
): Promise<boolean> {
  const { compose } = manifest;
  // No file, so none that could be misread.
  if (compose.runner !== "docker-compose") return true;
  try {
    const project = await presentProject(compose, variables, "dstack");
    if (project !== undefined) {
      await removeOrphans(dataFolder, project, log);
      return true;
    }
    log.warn(
      { file: COMPOSE_FILE },
      "it is not known beyond doubt which services there are: no container, image or volume is removed",
    );
  } catch (error) {
    log.warn({ error: errorChain(error), file: COMPOSE_FILE }, "containers of removed services were not looked for");
  }
  return false;
}
