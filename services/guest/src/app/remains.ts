/** What earlier versions left in Docker, and how it goes. Volumes are never touched here. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errorChain, excerpt } from "@dstack/errors";
import { syncFolder } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { GuestError } from "../errors.ts";
import { listContainers, listOf, type Container, type DockerApi } from "./docker-api.ts";

/** Members of a swarm and plugins start with dockerd, whatever it is told of containers' restart policies. */
export const STARTS_BY_ITSELF: readonly string[] = ["swarm", "plugins"];
/** Docker makes its own anew; docker compose makes the app's. */
export const NETWORKS = "network";

const AT_ONCE = 8;
const ROUNDS = 5;
const PAUSE_MS = 500;
const REMOVAL_TIMEOUT_MS = 120_000;

/** Removes parts of Docker's state before Docker starts. @throws the system's error */
export async function removeDockerState(dockerRoot: string, names: readonly string[]): Promise<void> {
  for (const name of names) await rm(join(dockerRoot, name), { recursive: true, force: true });
  await syncFolder(dockerRoot);
}

/**
 * Removes containers, whatever state they are in, and looks whether they are gone.
 * @throws GuestError `docker-failed` with the names of those that stay
 */
export async function removeContainers(
  docker: DockerApi,
  isDoomed: (container: Container) => boolean,
  log: Logger,
): Promise<void> {
  await removeAll(docker, "containers", log, async () =>
    (await listContainers(docker)).filter(isDoomed).map((container) => ({
      path: `/containers/${container.id}?force=true`,
      name: container.names[0]?.replace(/^\//, "") ?? container.id.slice(0, 12),
    })),
  );
}

/**
 * Removes every image, also those of stopped containers, and what builds have kept. Who is root in the guest can change
 * what Docker holds under a digest too. Layers stay as long as a container needs them.
 * @throws GuestError `docker-failed` with the ids of those that stay
 */
export async function removeImages(docker: DockerApi, log: Logger): Promise<void> {
  await removeAll(docker, "images", log, async () =>
    (await listOf(docker, "/images/json?all=true")).map(({ Id }) => ({
      path: `/images/${encodeURIComponent(String(Id))}?force=true`,
      name: String(Id),
    })),
  );
  await docker.call("POST", "/build/prune?all=true", REMOVAL_TIMEOUT_MS);
}

interface Doomed {
  readonly path: string;
  readonly name: string;
}

/** What fails once may go at the next try: an image after those that were made from it, a container after a slow end. */
async function removeAll(
  docker: DockerApi,
  kind: string,
  log: Logger,
  list: () => Promise<readonly Doomed[]>,
): Promise<void> {
  let failure: unknown;
  let before = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    const doomed = await list();
    if (doomed.length === 0) return;
    const names = excerpt(doomed.map(({ name }) => name).join(", "));
    if (round >= ROUNDS && doomed.length >= before)
      throw new GuestError("docker-failed", `${kind} of an earlier version cannot be removed: ${names}`, {
        cause: failure,
      });
    if (round === 0) log.info({ count: doomed.length, names }, `removing ${kind} of an earlier version`);
    if (doomed.length >= before) await sleep(PAUSE_MS);
    before = doomed.length;
    for (let i = 0; i < doomed.length; i += AT_ONCE) {
      await Promise.all(
        doomed.slice(i, i + AT_ONCE).map(async ({ path }) => {
          try {
            await docker.call("DELETE", path, REMOVAL_TIMEOUT_MS);
          } catch (error) {
            failure = error;
            log.debug({ error: errorChain(error) }, "a removal failed");
          }
        }),
      );
    }
  }
}
