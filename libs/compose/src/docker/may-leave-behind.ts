import { isDangerousEnvName } from "../environment.ts";
import type { AppCompose } from "../manifest/app-compose.ts";
import { isUnderstood } from "./lint-compose-file.ts";
import { powersOf } from "./powers.ts";
import type { ComposeFile } from "./read-compose-file.ts";

/**
 * Whether a version of an app may do more in its guest than run its services: start containers of its own, give names
 * to images, change files outside its volumes. What such a version leaves on the disk can outlive it.
 * @param file the manifest's compose file, read with `maySend` from its allow-list; undefined where it cannot be read
 */
export function mayLeaveBehind(compose: AppCompose, file: ComposeFile | undefined): boolean {
  const scripts = [...compose.initScripts, compose.preLaunchScript ?? ""];
  return (
    compose.runner !== "docker-compose" ||
    scripts.some((script) => script !== "") ||
    compose.allowedEnvs.some(isDangerousEnvName) ||
    file === undefined ||
    !isUnderstood(file) ||
    powersOf(file).some(({ kind }) => kind !== "guest-socket")
  );
}
