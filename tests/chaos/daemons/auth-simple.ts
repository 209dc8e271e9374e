import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { message } from "../wire-client.ts";
import { BOOT, BOOT_SEEDS } from "./boot-question.ts";
import { listenerOf } from "./listener-of.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** The webhook over a file; it has no upstream. */
export async function authSimple(): Promise<Daemon> {
  const { folder, remove } = await temporaryFolder("auth-simple");
  const config = join(folder, "auth-config.json");
  const app = { composeHashes: [BOOT.composeHash], allowAnyDevice: true };
  await writeFile(config, JSON.stringify({ osImages: [BOOT.osImageHash], apps: { [BOOT.appId]: app } }));
  const process = await startProcess({
    main: "services/auth-simple/src/main.ts",
    env: { HOST: "127.0.0.1", PORT: "0", AUTH_CONFIG_PATH: config },
    cwd: folder,
    listeners: 1,
  });
  return {
    name: "auth-simple",
    process,
    listeners: [
      listenerOf(process.listeners[0], {
        name: "the webhook",
        reach: "stranger",
        seeds: BOOT_SEEDS,
        probe: message("GET", "/health"),
      }),
    ],
    deep: [],
    upstreams: [],
    close: remove,
  };
}
