import { mkdir } from "node:fs/promises";
import { prepareWorkFolder, type BootInputs } from "../host/boot-inputs.ts";
import type { BootContext } from "../system/boot-context.ts";
import { openAppEnvironment } from "./app-environment.ts";
import { runInitScripts, writeComposeFile } from "./app-start.ts";

/**
 * Lays out the folder that the app knows as /dstack, with its environment, and runs its init scripts.
 * @returns the app's variables
 * @throws GuestError `env-invalid`, `app-failed`
 */
export async function prepareApp(
  boot: BootContext,
  inputs: BootInputs,
  envCryptKey: Uint8Array,
): Promise<ReadonlyMap<string, string>> {
  const { paths, run, log } = boot;
  const { compose } = inputs.manifest;
  const variables = await openAppEnvironment({
    encrypted: inputs.encryptedEnv,
    key: envCryptKey,
    compose,
    folder: paths.hostShared,
    log,
  });
  await prepareWorkFolder(paths);
  await mkdir(paths.dstack, { recursive: true });
  await run("mount", ["--rbind", paths.work, paths.dstack]);
  boot.onShutdown(() => run("umount", ["-R", paths.dstack], { okCodes: [0, 32] }));
  await writeComposeFile(compose, paths.work);
  if (compose.initScripts.length > 0) {
    boot.progress("init-script");
    await runInitScripts(compose, { folder: paths.dstack, mountPoint: paths.persistent, run });
  }
  return variables;
}
