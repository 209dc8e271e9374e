import { parseArgs } from "node:util";
import { createLogger, outliveStrays } from "@dstack/log";
import { VERSION_TEXT } from "@dstack/proto/wire";
import { loadGatewayConfig } from "./config/gateway-config.ts";
import { GATEWAY_ERRORS, GatewayError } from "./errors.ts";
import { startGateway, type Gateway } from "./gateway.ts";
import { evidenceVerifier } from "./identity/evidence.ts";

const HELP = `The gateway: brings TLS connections to CVMs by their name, over WireGuard.

  node services/gateway/src/main.ts -c gateway.toml

  -c, --config FILE   configuration; later than /etc/gateway/gateway.toml and ./gateway.toml
  -h, --help          this text
  -V, --version       version

Signals: SIGTERM and SIGINT stop it, SIGHUP reads certificates again.
`;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let options: { config?: string | undefined; help?: boolean | undefined; version?: boolean | undefined };
  try {
    options = parseArgs({
      args,
      options: {
        config: { type: "string", short: "c" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "V" },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${HELP}`);
    return 2;
  }
  if (options.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.version === true) {
    process.stdout.write(`dstack-gateway ${VERSION_TEXT}\n`);
    return 0;
  }
  const bootLog = createLogger({ name: "gateway", env: process.env });
  try {
    const config = await loadGatewayConfig(options.config, process.env, bootLog);
    const log = createLogger({ name: "gateway", env: process.env, level: config.raw.log_level });
    outliveStrays(log);
    const evidence = await evidenceVerifier(config, Date.now, log);
    const gateway = await startGateway(config, {
      log,
      now: Date.now,
      random: Math.random,
      verifyEvidence: evidence?.verify,
      ...(evidence === undefined ? {} : { collateralDaysLeft: () => evidence.collateral.daysLeft() }),
    });
    await untilStopped(gateway);
    log.info("gateway is stopped");
    return 0;
  } catch (error) {
    bootLog.error(
      {
        code: (error as { code?: string }).code,
        error: (error as Error).message,
        ...(error instanceof GatewayError ? { next: GATEWAY_ERRORS[error.code].next } : {}),
      },
      `gateway cannot start: ${(error as Error).message}`,
    );
    return 1;
  }
}

function untilStopped(gateway: Gateway): Promise<void> {
  process.on("SIGHUP", () => void gateway.reload());
  return new Promise((resolve, reject) => {
    let stopping = false;
    const stop = (): void => {
      if (stopping) return;
      stopping = true;
      gateway.stop().then(resolve, reject);
    };
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
    // A repeated signal must not cut the clean-up short: the interface would stay.
    process.on("SIGTERM", () => undefined).on("SIGINT", () => undefined);
  });
}
