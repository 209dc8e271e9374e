import { resolve } from "node:path";
import { GovernanceError, readSwitches } from "@dstack/governance";
import { webhookRoutes } from "@dstack/governance/webhook";
import { createLogger } from "@dstack/log";
import { startHttpServer } from "@dstack/rpc";
import { ConfigFile } from "./config-file.ts";
import { fileBackend } from "./file-backend.ts";

const log = createLogger({ name: "auth-simple", env: process.env });

try {
  const { env } = process;
  const port = readPort(env["PORT"]);
  // A deployment that only says PORT expects to be reached from other containers, as it always was.
  const host = env["HOST"] ?? (env["PORT"] === undefined ? "127.0.0.1" : "0.0.0.0");
  const path = resolve(env["AUTH_CONFIG_PATH"] ?? "./auth-config.json");
  const file = new ConfigFile(path, readSwitches(env), log);
  await file.current();
  const server = await startHttpServer({
    listen: { host, port },
    routes: webhookRoutes(fileBackend(file), log),
    log,
    requestTimeoutMs: 30_000,
  });
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

function readPort(text = "3000"): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new GovernanceError("environment-invalid", `PORT: expected 0 to 65535, got "${text}"`);
  return port;
}
