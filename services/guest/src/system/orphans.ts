import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@dstack/log";

/** Labels of the containers that are wanted. */
interface Project {
  readonly name: string;
  readonly services: readonly string[];
}

/**
 * Deletes containers of services that the compose file no longer has, before Docker starts: a
 * restart policy would bring a removed service back to life with the app's volumes.
 */
export async function removeOrphans(dockerRoot: string, project: Project, log: Logger): Promise<readonly string[]> {
  const removed: string[] = [];
  const folder = join(dockerRoot, "containers");
  for (const id of await readdir(folder).catch(() => [])) {
    const service = await orphanService(join(folder, id, "config.v2.json"), project);
    if (service === undefined) continue;
    await rm(join(folder, id), { recursive: true, force: true });
    log.info({ container: id.slice(0, 12), service }, "removed the container of a service that is gone");
    removed.push(id);
  }
  return removed;
}

/** The container's service where it belongs to the project and the project has it no more. */
async function orphanService(path: string, project: Project): Promise<string | undefined> {
  let labels: Record<string, unknown> | undefined;
  try {
    labels = (JSON.parse(await readFile(path, "utf8")) as { Config?: { Labels?: Record<string, unknown> } }).Config
      ?.Labels;
  } catch {
    return undefined; // Unreadable: Docker itself decides what becomes of it.
  }
  const service = labels?.["com.docker.compose.service"];
  if (labels?.["com.docker.compose.project"] !== project.name || typeof service !== "string") return undefined;
  return project.services.includes(service) ? undefined : service;
}
