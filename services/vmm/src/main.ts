/**
 * The VMM as a program. In: command line and configuration. Out: one fleet, the management API over
 * it, a watch beside it, until a signal asks for the end. Never: a VM ended with it, or two VMMs on
 * one run path.
 */
import { VERSION_TEXT } from "@dstack/proto/wire";
import { once } from "node:events";
import { join, dirname } from "node:path";
import { mkdir, readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { utf8 } from "@dstack/bytes";
import { ConfigError } from "@dstack/config";
import { errorChain } from "@dstack/errors";
import { lockFile, type FileLock } from "@dstack/files";
import { createLogger, outliveStrays, type Logger } from "@dstack/log";
import { dispatch, mount, startHttpServer, type HttpServer } from "@dstack/rpc";
import { chooseAccelerator, type Accelerator } from "./launch/accelerator.ts";
import { VMM_ERRORS, VmmError } from "./errors.ts";
import { createFleet, type Fleet } from "./fleet/fleet.ts";
import { askedGuests, guestProxy } from "./api/guest-proxy.ts";
import { hostApiHandler } from "./api/host-api.ts";
import { isLoopback, managementGuard } from "./api/guard.ts";
import { httpRoutes } from "./api/http-routes.ts";
import { metricsText } from "./api/metrics.ts";
import { watchPlatforms, type Platforms } from "./api/platforms.ts";
import { findQemu } from "./launch/qemu-binary.ts";
import { connectSupervisor, ensureSupervisor } from "./supervisor/supervisor-start.ts";
import { readVmmConfig, type VmmConfig } from "./config/vmm-config.ts";
import { vmmService } from "./api/vmm-service.ts";
import { startWatch } from "./fleet/watch.ts";

const USAGE = `Usage: vmm [-c FILE] [serve | check-config]
  -c, --config FILE   configuration, on top of /etc/vmm/vmm.toml and ./vmm.toml
      --version       print the version
`;

async function main(): Promise<void> {
  // Work directories, sockets and logs are for our own user alone, from their first moment.
  process.umask(0o077);
  const { values, positionals } = parse(process.argv.slice(2));
  if (values.help === true) return void process.stdout.write(USAGE);
  if (values.version === true) return void process.stdout.write(`${VERSION_TEXT}\n`);
  const log = createLogger({ name: "vmm", env: process.env });
  const config = await readVmmConfig(values.config, log);
  if (positionals[0] === "check-config") return void process.stdout.write("configuration is valid\n");
  await serve(config, log);
}

async function serve(config: VmmConfig, log: Logger): Promise<void> {
  outliveStrays(log);
  const clock = Date;
  await mkdir(config.runPath, { recursive: true, mode: 0o700 });
  // Two VMMs on one folder would start the same VMs twice.
  const lock = await lockFile(join(config.runPath, ".vmm.lock"));
  const qemu = await findQemu({
    configured: config.cvm.qemuPath,
    version: config.cvm.qemuVersion,
    env: process.env,
    log,
  });
  const supervisor = await connectSupervisor(config.supervisor, log);
  let accelerator: Promise<Accelerator> | undefined;
  let known: Accelerator | undefined;
  let ensuring: Promise<unknown> | undefined;
  const fleet = createFleet({
    config,
    qemu,
    clock,
    log,
    supervisor,
    // One at a time: two would race for the socket, and the loser reports a failure that is none.
    ensureSupervisor: () =>
      (ensuring ??= ensureSupervisor(supervisor, config.supervisor, log).finally(() => {
        ensuring = undefined;
      })),
    hostApi: (vm) => hostApiHandler(vm, { config, log, clock, fleet: () => fleet }),
    accelerator: async (kernel) => {
      accelerator ??= chooseAccelerator(
        { wanted: config.cvm.accelerator, qemu, cacheFile: join(config.runPath, ".accelerator.json"), log },
        kernel,
      ).catch((error: unknown) => {
        accelerator = undefined;
        throw error;
      });
      return (known = await accelerator);
    },
  });
  const service = vmmService({
    fleet,
    supervisor,
    config,
    log,
    clock,
    node: () => ({
      accelerator: known,
      qemuPath: qemu.path,
      qemuVersion: qemu.version,
      teeSimulator: config.cvm.teeSimulator !== undefined,
    }),
  });
  if ("path" in config.listen) await mkdir(dirname(config.listen.path), { recursive: true });
  await fleet.load();
  const platforms = await platformsOf(config, fleet, log);
  const routes = httpRoutes({
    fleet,
    config,
    consoleFolder: join(import.meta.dirname, "../console"),
    statusJson: () => statusJson(service),
    metricsText: () => metricsText(fleet, platforms),
  });
  const server = await startHttpServer({
    listen: config.listen,
    mounts: [mount("/prpc/", service), mount("/guest/", guestProxy(fleet, log))],
    routes,
    guard: managementGuard({
      auth: config.auth,
      listen: config.listen,
      openToThisHost: routes.filter(({ openTo }) => openTo === "this-host").map(({ path }) => path),
    }),
    headers: { "x-app-version": VERSION_TEXT, server: "dstack VMM" },
    // A followed log stays open for as long as somebody reads it.
    requestTimeoutMs: 120_000,
    log,
  });
  const watch = startWatch({ fleet, config, log, clock });
  if ("host" in config.listen && !config.auth.enabled && !isLoopback(config.listen.host)) {
    log.warn(
      { address: server.address },
      "the management API is open to the network without authentication; set auth.enabled",
    );
  }
  log.info(
    { address: server.address, vms: fleet.all().length, qemu: qemu.path, qemuVersion: qemu.version },
    "VMM ready",
  );
  await untilAsked(log);
  watch.stop();
  fleet.close();
  await end(server, lock);
  log.info("VMM ended; its VMs go on");
}

/** Undefined where the configuration names no collateral server: nothing can be said of the platform then. */
async function platformsOf(
  { attestation, runPath }: VmmConfig,
  fleet: Pick<Fleet, "all">,
  log: Logger,
): Promise<Platforms | undefined> {
  const endpoints = attestation.urls.pccs ?? [];
  if (endpoints.length === 0) return undefined;
  const [{ CollateralFetcher }, { intelTrustAnchor, trustAnchorFromPem }] = await Promise.all([
    import("@dstack/attest/node"),
    import("@dstack/attest"),
  ]);
  const { tdx } = attestation.rootCa;
  const trustAnchor = tdx === "" ? intelTrustAnchor() : trustAnchorFromPem(await readFile(tdx, "utf8"));
  const collateral = new CollateralFetcher({
    endpoints,
    trustAnchor,
    cacheFolder: join(runPath, ".collateral"),
    clock: Date,
    onProblem: (problem) => log.warn({ error: errorChain(problem) }, "a server of collateral or its cache failed"),
  });
  return watchPlatforms({ guests: () => askedGuests(fleet), collateral, trustAnchor, clock: Date, log });
}

async function statusJson(service: ReturnType<typeof vmmService>): Promise<Uint8Array> {
  const query = new URLSearchParams();
  const answer = await dispatch(
    service,
    { name: "Status", verb: "POST", query, contentType: "application/json", body: utf8("{}") },
    {
      method: "Status",
      requestId: "vm",
      peerCertificates: [],
      remoteAddress: undefined,
      headers: {},
      query,
      signal: AbortSignal.timeout(60_000),
    },
  );
  return answer.body;
}

async function untilAsked(log: Logger): Promise<void> {
  const signal = await Promise.race(
    (["SIGTERM", "SIGINT"] as const).map((name) => once(process, name).then(() => name)),
  );
  log.info({ signal }, "ending");
}

async function end(server: HttpServer, lock: FileLock): Promise<void> {
  await server.close();
  await lock.release();
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        config: { type: "string", short: "c" },
        version: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (cause) {
    throw new VmmError("config-invalid", `${(cause as Error).message}\n${USAGE}`, { cause });
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const text =
      error instanceof ConfigError || error instanceof VmmError || error instanceof Error
        ? error.message
        : String(error);
    const next = error instanceof VmmError ? `next: ${VMM_ERRORS[error.code].next}\n` : "";
    process.stderr.write(`vmm: ${text}\n${next}`);
    process.exit(1);
  },
);
