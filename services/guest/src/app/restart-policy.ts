/**
 * Which containers Docker would start by itself, by its rule (moby 26.1, `ShouldRestart`): those that were started
 * before and whose restart policy says so. The state that decides is only in Docker's files, not in its API.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseJson } from "@dstack/bytes";

/**
 * Ids of the containers that Docker, told to revive, would have started. Read it once Docker is up: what a power cut
 * ended has its exit code only then.
 * @param dockerRoot Docker's data folder
 */
export async function containersToRevive(dockerRoot: string): Promise<readonly string[]> {
  const folder = join(dockerRoot, "containers");
  const ids = await readdir(folder).catch(() => []);
  const wanted = await Promise.all(
    ids.map(async (id) => {
      try {
        const [config, host] = await Promise.all(
          ["config.v2.json", "hostconfig.json"].map(async (name) =>
            parseJson(await readFile(join(folder, id, name), "utf8")),
          ),
        );
        return wouldRestart(config, host) ? [id] : [];
      } catch {
        return []; // Unreadable: Docker does not know it either.
      }
    }),
  );
  return wanted.flat();
}

/** @param config a container's config.v2.json @param host its hostconfig.json */
export function wouldRestart(config: unknown, host: unknown): boolean {
  const { HasBeenStartedBefore, HasBeenManuallyStopped, RestartCount, State } = members(config);
  const { Name, MaximumRetryCount } = members(members(host)["RestartPolicy"]);
  if (HasBeenStartedBefore !== true) return false;
  switch (Name) {
    case "always":
      return true;
    case "unless-stopped":
      return HasBeenManuallyStopped !== true;
    case "on-failure": {
      const most = Number(MaximumRetryCount ?? 0);
      return Number(members(State)["ExitCode"] ?? 0) !== 0 && (most === 0 || Number(RestartCount ?? 0) < most);
    }
    default:
      return false;
  }
}

const members = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
