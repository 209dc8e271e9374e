import { utf8 } from "@dstack/bytes";
import { ComposeError, type AppCompose } from "@dstack/compose";
import type { ComposeFile } from "@dstack/compose/docker";

/** What docker compose will run, as far as its containers' labels tell: the project and its services. */
export interface Project {
  readonly name: string;
  readonly services: readonly string[];
}

/**
 * The project of the manifest's compose file; undefined where it is not known beyond doubt what
 * docker compose will make of the file: then nothing of an earlier version may be deleted by it.
 * @param variables what the app is sent
 * @param folder name of the folder that the file lies in
 */
export async function presentProject(
  compose: AppCompose,
  variables: ReadonlyMap<string, string>,
  folder: string,
): Promise<Project | undefined> {
  const scripts = [compose.preLaunchScript, ...compose.initScripts].filter((script) => script !== undefined);
  // A script may rename the project, and choose its services by profiles and files.
  if (scripts.some((script) => /COMPOSE_/.test(script))) return undefined;
  // Loaded when needed: the guest must start fast, and asks late in its boot.
  const { isUnderstood, projectName, readComposeFile } = await import("@dstack/compose/docker");
  let file: ComposeFile;
  try {
    // A script may also set variables, or write an .env file that docker compose reads.
    file = readComposeFile(utf8(compose.dockerComposeFile ?? ""), { variables, areAll: scripts.length === 0 });
  } catch (error) {
    // Docker itself says what is wrong with it, when it is asked to start the app.
    if (error instanceof ComposeError) return undefined;
    throw error;
  }
  const name = projectName(file, folder);
  if (name === undefined || !isUnderstood(file)) return undefined;
  return { name, services: file.services.map((service) => service.name) };
}
