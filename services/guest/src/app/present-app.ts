import { utf8 } from "@dstack/bytes";
import { ComposeError, type AppCompose } from "@dstack/compose";
import type { ComposeFile } from "@dstack/compose/docker";

/** What docker compose will run, as far as its containers' labels tell: the project and its services. */
export interface Project {
  readonly name: string;
  readonly services: readonly string[];
}

export interface PresentApp {
  /**
   * Undefined where it is not known beyond doubt what docker compose will make of the file: then no image or volume
   * may be deleted by it.
   */
  readonly project: Project | undefined;
  /** See `mayLeaveBehind` of @dstack/compose/docker. */
  readonly mayLeaveBehind: boolean;
}

/** What the guest itself sets from the host's word. */
const GIVEN = ["PCCS_URL"];

/**
 * What the manifest's app consists of.
 * @param variables what the app is sent
 * @param folder name of the folder that the file lies in
 */
export async function presentApp(
  compose: AppCompose,
  variables: ReadonlyMap<string, string>,
  folder: string,
): Promise<PresentApp> {
  const scripts = [compose.preLaunchScript, ...compose.initScripts].filter((script) => script !== undefined);
  // Loaded when needed: the guest must start fast, and asks late in its boot.
  const { isUnderstood, mayLeaveBehind, projectName, readComposeFile } = await import("@dstack/compose/docker");
  let file: ComposeFile;
  try {
    file = readComposeFile(utf8(compose.dockerComposeFile ?? ""), {
      variables,
      // A script may also set variables, or write an .env file that docker compose reads.
      areAll: scripts.length === 0,
      maySend: [...compose.allowedEnvs, ...GIVEN],
    });
  } catch (error) {
    // Docker itself says what is wrong with it, when it is asked to start the app.
    if (error instanceof ComposeError)
      return { project: undefined, mayLeaveBehind: mayLeaveBehind(compose, undefined) };
    throw error;
  }
  const name = projectName(file, folder);
  // A script may rename the project, and choose its services by profiles and files.
  const isCertain = isUnderstood(file) && !scripts.some((script) => /COMPOSE_/.test(script));
  return {
    project:
      isCertain && name !== undefined ? { name, services: file.services.map((service) => service.name) } : undefined,
    mayLeaveBehind: mayLeaveBehind(compose, file),
  };
}
