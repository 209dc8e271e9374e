import { resolve } from "node:path";
import { listenOfEnvironment } from "@dstack/config";
import { readSwitches } from "@dstack/governance";
import { startWebhook } from "@dstack/governance/webhook";
import { createLogger, outliveStrays } from "@dstack/log";
import { ConfigFile } from "./config-file.ts";
import { fileBackend } from "./file-backend.ts";

const log = createLogger({ name: "auth-simple", env: process.env });
outliveStrays(log);

try {
  const { env } = process;
  // A deployment that only says PORT expects to be reached from other containers, as it always was.
  const fallback = { host: (env["PORT"] ?? "") === "" ? "127.0.0.1" : "0.0.0.0", port: 3000 };
  const listen = listenOfEnvironment(env, fallback);
  const path = resolve(env["AUTH_CONFIG_PATH"] ?? "./auth-config.json");
  const file = new ConfigFile(path, readSwitches(env), log);
  await file.current();
  const server = await startWebhook({ listen, backend: fileBackend(file), log, env });
  log.info({ address: server.address, config: path }, "listening");
  const stop = (signal: string): void => {
    log.info({ signal }, "stopping");
    void server.close();
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
} catch (error) {
  log.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
