/**
 * What runs is what is measured: nothing that an earlier version of the app left in Docker runs under the measurement
 * of this one. Docker revives nothing by itself; a record on the disk tells which version ran last.
 *
 * A change of version has these steps, in this order: the record names none; what starts with Docker goes; Docker starts;
 * containers of others go; the app starts with containers made anew; what it has not replaced goes; the record is
 * written. The power may fail between any two: without a name in the record the next boot does all of it again, whichever version
 * it is of.
 */
import { mkdir } from "node:fs/promises";
import type { Logger } from "@dstack/log";
import { listContainers, type Container, type DockerApi } from "./docker-api.ts";
import { readLastApp, writeLastApp, type AppVersion } from "./last-app.ts";
import type { Project } from "./present-app.ts";
import { NETWORKS, removeContainers, removeDockerState, removeImages, STARTS_BY_ITSELF } from "./remains.ts";
import { containersToRevive } from "./restart-policy.ts";
import { revive } from "./revive.ts";
import { planStart } from "./start-plan.ts";

export interface SuccessionOptions {
  /** Docker's data folder on the encrypted disk. */
  readonly dockerRoot: string;
  /** Where it stands which version ran last. */
  readonly recordPath: string;
  readonly present: AppVersion;
  /** The app's project; undefined where it has none, or it is not known. */
  readonly project: Project | undefined;
  /** Whether the app is started by docker compose at all. */
  readonly isComposed: boolean;
  readonly log: Logger;
}

export interface Succession {
  /** Whether the app's own containers have to be made anew. */
  readonly recreates: boolean;
  /** Once Docker is up, before anything of the app runs. @throws GuestError `docker-failed` */
  beforeApp(docker: DockerApi): Promise<void>;
  /** Once the app runs. @throws GuestError `docker-failed`, the system's error */
  afterApp(docker: DockerApi): Promise<void>;
}

/** The first steps, before Docker starts. @throws the system's error */
export async function beginSuccession(options: SuccessionOptions): Promise<Succession> {
  const { dockerRoot, recordPath, present, log } = options;
  const last = await readLastApp(recordPath, log);
  const plan = planStart(last, present);
  await mkdir(dockerRoot, { recursive: true, mode: 0o710 });
  if (plan.isChange)
    await writeLastApp(recordPath, {
      composeHash: "",
      mayLeaveBehind: last?.mayLeaveBehind !== false || present.mayLeaveBehind,
    });
  if (plan.clears)
    await removeDockerState(dockerRoot, plan.isChange ? [...STARTS_BY_ITSELF, NETWORKS] : STARTS_BY_ITSELF);
  let earlier: ReadonlySet<string> = new Set();
  return {
    recreates: plan.isChange,
    beforeApp: async (docker) => {
      if (plan.clears) await removeContainers(docker, (container) => !mayBeOwn(container, options), log);
      if (plan.isChange) earlier = new Set((await listContainers(docker)).map(({ id }) => id));
      if (plan.refetches) await removeImages(docker, log);
    },
    afterApp: async (docker) => {
      // Docker compose has replaced what is its own; what is left is not, whatever its labels say.
      if (earlier.size > 0) await removeContainers(docker, ({ id }) => earlier.has(id), log);
      if (plan.isChange) await writeLastApp(recordPath, present);
      if (plan.revives) await revive(docker, await containersToRevive(dockerRoot), log);
    },
  };
}

/**
 * Whether docker compose may take the container for its own, and hand its anonymous volumes on to the next. Where the
 * project is not known, everything that docker compose made may be.
 */
function mayBeOwn({ labels }: Container, { isComposed, project }: SuccessionOptions): boolean {
  const service = labels["com.docker.compose.service"];
  if (!isComposed || typeof service !== "string" || labels["com.docker.compose.oneoff"] === "True") return false;
  if (project === undefined) return true;
  return labels["com.docker.compose.project"] === project.name && project.services.includes(service);
}
