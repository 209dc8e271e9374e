import { errorChain } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { DockerApi } from "./docker-api.ts";

const AT_ONCE = 4;
const START_TIMEOUT_MS = 120_000;

/**
 * Starts containers as Docker would have at its own start; what runs already stays as it is. One that does not start is
 * no reason to end the app: Docker would have gone on as well.
 */
export async function revive(docker: DockerApi, ids: readonly string[], log: Logger): Promise<void> {
  // A container that shares another's network can start only after it.
  const failed = await startAll(docker, ids);
  for (const { id, error } of await startAll(
    docker,
    failed.map(({ id }) => id),
  ))
    log.warn(
      { container: id.slice(0, 12), error: errorChain(error) },
      "a container of the app's own did not come back",
    );
}

interface Failure {
  readonly id: string;
  readonly error: unknown;
}

async function startAll(docker: DockerApi, ids: readonly string[]): Promise<readonly Failure[]> {
  const failed: Failure[] = [];
  for (let i = 0; i < ids.length; i += AT_ONCE)
    await Promise.all(
      ids.slice(i, i + AT_ONCE).map(async (id) => {
        try {
          await docker.call("POST", `/containers/${id}/start`, START_TIMEOUT_MS);
        } catch (error) {
          failed.push({ id, error });
        }
      }),
    );
  return failed;
}
