/** The story of one boot, from the host share to the running app. */
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { utf8 } from "@dstack/bytes";
import { padReportData, parseQuote, tdReportOf, type Attestation } from "@dstack/attest";
import { composeProject } from "@dstack/compose";
import { writeSecret } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { appKeysJson, keyProviderEvent, keysWithoutProvider, providerId, type AppKeys } from "./keys/app-keys.ts";
import { openAppEnvironment } from "./app/app-environment.ts";
import { COMPOSE_FILE, pruneDocker, runInitScripts, startApp, stopApp, writeComposeFile } from "./app/app-start.ts";
import { checkBootInputs, prepareWorkFolder, readBootInputs, type BootInputs } from "./host/boot-inputs.ts";
import { certificateIssuer } from "./keys/certificates.ts";
import type { AgentState } from "./agent/agent-state.ts";
import { demoCertificate, type DemoCertificate } from "./agent/demo-certificate.ts";
import { startListeners } from "./agent/listeners.ts";
import { cpuSeconds } from "./system/cpu-seconds.ts";
import { closeDataDisk, findDataDevice, openDataDisk } from "./disk/data-disk.ts";
import { startContainerd, startDocker, type Docker } from "./app/docker.ts";
import { dockerApi } from "./app/docker-api.ts";
import { GuestError } from "./errors.ts";
import { evidenceVerifier } from "./identity/evidence-verifier.ts";
import { startGateway } from "./gateway/gateway.ts";
import type { HostLink } from "./host/host-link.ts";
import { instanceInfoJson, resolveIdentity, type Identity } from "./identity/identity.ts";
import type { ImageInfo } from "./system/image-info.ts";
import { beginFirstContacts, requestKmsKeys } from "./keys/kms-keys.ts";
import { checkLaunchBinding } from "./identity/launch-binding.ts";
import { initScriptHashes, measureApp } from "./identity/measure-app.ts";
import { removeOrphans } from "./system/orphans.ts";
import type { GuestPaths } from "./system/paths.ts";
import type { RunProgram } from "./system/run-program.ts";
import { syncTime } from "./system/secure-time.ts";
import { setUpSwap } from "./system/swap.ts";
import type { GuestTee } from "./identity/tee.ts";

export interface BootOptions {
  readonly paths: GuestPaths;
  readonly image: ImageInfo;
  readonly host: HostLink;
  /** Opens the TEE with the manifest's event log version. */
  readonly openTee: (eventLogVersion: 1 | 2) => Promise<GuestTee>;
  readonly run: RunProgram;
  readonly log: Logger;
  /** Cleared on shutdown; collects what has to be undone, newest first. */
  readonly cleanups: (() => Promise<void>)[];
  readonly stopping: AbortSignal;
  /** Told once the agent can answer. */
  readonly onAgent: (agent: { readonly state: AgentState; readonly demo: DemoCertificate }) => void;
  /** Writes a line that operators wait for. */
  readonly console: (line: string) => void;
}

/** Boots the app. Whatever fails is thrown with the reason; the caller reports it and powers off. */
export async function bootGuest(options: BootOptions): Promise<void> {
  const { paths, host, log, run, cleanups, image } = options;
  const now = (): number => Math.floor(Date.now() / 1000);
  // Seconds since this process began, and how many of them it worked; benchmarks read them off the console.
  const step = (phase: string, message: string): void => {
    const { user, system } = process.cpuUsage();
    log.info({ phase, uptime_s: round(process.uptime()), cpu_s: round((user + system) / 1e6) }, message);
  };
  const progress = (text: string): void => {
    step(text, "boot progress");
    host.notify("boot.progress", text);
  };
  step("started", "boot step");

  // Holds nothing of the app, so it can start before anything is known.
  const containerd = await startContainerd(paths.run, log);
  cleanups.push(() => containerd.stop(5_000));

  const inputs = await readBootInputs(paths, run, log);
  const { manifest, systemConfig } = inputs;
  const { compose } = manifest;
  await checkBootInputs(inputs, image);
  step("host share read", "boot step");
  const firstContacts = compose.keyProvider === "kms" ? beginFirstContacts(systemConfig.kmsUrls) : new Map();
  if (compose.secureTime) await syncTime(run);

  const tee = await options.openTee(compose.eventLogVersion);
  step("TEE open", "boot step");
  const identity = resolveIdentity(manifest, inputs.instanceInfo, (size) => new Uint8Array(randomBytes(size)));
  await measureApp(manifest, identity, tee);

  progress("requesting app keys");
  const verifyEvidence = evidenceVerifier({
    pccsUrl: systemConfig.pccsUrl,
    isDev: image.isDev,
    rootsFile: join(paths.run, "attestation/roots.json"),
    now,
  });
  const { keys, osImageHash, attestation } =
    compose.keyProvider === "kms"
      ? await requestKmsKeys({
          urls: systemConfig.kmsUrls,
          appId: identity.appId,
          vmConfig: systemConfig.vmConfig,
          tee,
          pinnedProviderId: compose.keyProviderId,
          firstContacts,
          verifyEvidence,
          log,
          onWaiting: (why) => progress(why),
          now,
        })
      : {
          keys: keysWithoutProvider(new Uint8Array(randomBytes(32)), now()),
          osImageHash: new Uint8Array(),
          attestation: await tee.attest(padReportData(new Uint8Array()), systemConfig.vmConfig),
        };
  step("keys received", "boot step");
  bindKeys(inputs, identity, keys, attestation, log);
  if (osImageHash.length > 0) await tee.emit("os-image-hash", osImageHash);
  await tee.emit("key-provider", keyProviderEvent(compose.keyProvider, providerId(keys.provider)));
  await writeSecret(join(paths.hostShared, ".appkeys.json"), appKeysJson(keys));

  await tee.emit("storage-fs", utf8(inputs.storageFs));
  const device = await findDataDevice(inputs.kernelOptions.dataDevice, log);
  cleanups.push(() => closeDataDisk(paths.persistent, run));
  const { initialized } = await openDataDisk({
    device,
    mountPoint: paths.persistent,
    key: keys.diskCryptKey,
    run,
    log,
    onProgress: progress,
  });
  log.info({ device, initialized }, "data disk open");
  await setUpSwap(compose.swapSizeBytes, paths.persistent, run);
  if (compose.swapSizeBytes > 0n) cleanups.push(async () => void (await run("swapoff", ["-a"])));
  host.notify("instance.info", instanceInfoJson(identity));
  await tee.emit("system-ready", new Uint8Array());
  progress("data disk ready");

  const variables = await openAppEnvironment({
    encrypted: inputs.encryptedEnv,
    key: keys.envCryptKey,
    compose,
    folder: paths.hostShared,
    log,
  });
  await prepareWorkFolder(paths);
  await mkdir(paths.dstack, { recursive: true });
  await run("mount", ["--rbind", paths.work, paths.dstack]);
  cleanups.push(async () => void (await run("umount", ["-R", paths.dstack], { okCodes: [0, 32] })));
  await writeComposeFile(compose, paths.work);
  if (compose.initScripts.length > 0) {
    progress("init-script");
    await runInitScripts(compose, { folder: paths.dstack, mountPoint: paths.persistent, run });
  }

  // The sockets come before Docker: containers of an earlier boot may start with it and mount them.
  const issuer = certificateIssuer({ keys, tee, vmConfig: systemConfig.vmConfig, verifyEvidence, now });
  const state: AgentState = {
    manifest,
    identity,
    keys,
    systemConfig,
    image,
    tee,
    issuer,
    docker: dockerApi(paths.dockerSocket),
    dataDisks: ["/", paths.persistent],
    log: log.child({ part: "agent" }),
  };
  const demo = demoCertificate(issuer, state.log);
  const servers = await startListeners(state, demo, { runFolder: "/run" });
  cleanups.push(async () => void (await Promise.all(servers.map((server) => server.close()))));
  options.onAgent({ state, demo });

  if (compose.gatewayEnabled) {
    progress("setting up dstack-gateway");
    startGateway(
      {
        urls: systemConfig.gatewayUrls,
        gatewayAppId: keys.gatewayAppId,
        caCertificatePem: keys.caCertificatePem,
        portPolicy: compose.portPolicy,
        issuer,
        configPath: paths.wireguardConfig,
        run,
        log: log.child({ part: "gateway" }),
        now,
      },
      host,
      options.stopping,
      cleanups,
    );
  }

  progress("setting up docker");
  const docker = await bringUpDocker(options, inputs);
  await startApp({
    compose,
    folder: paths.dstack,
    variables,
    pccsUrl: systemConfig.pccsUrl,
    run,
    onProgress: progress,
  });
  cleanups.push(() => stopApp(compose, paths.dstack, run, log));
  options.console("[  OK  ] Finished App Compose Service.");
  progress("done");
  log.info(await cpuSeconds(), "CPU time of the boot");
  demo.current();
  void pruneDocker(docker.api, log);
}

/**
 * What the host bound at launch must be what runs, and a pin in the manifest must be met. Any
 * quote of this boot will do: MRCONFIGID never changes while the machine lives.
 */
function bindKeys(inputs: BootInputs, identity: Identity, keys: AppKeys, { platform }: Attestation, log: Logger): void {
  const { manifest, systemConfig } = inputs;
  const { compose } = manifest;
  if (keys.provider.kind === "none" && compose.keyProviderId.length > 0)
    throw new GuestError("keys-refused", "Unexpected key provider id: none, but the manifest pins one");
  const { mrConfigId } = tdReportOf(parseQuote(platform.quote));
  const binding = checkLaunchBinding(mrConfigId, {
    composeHash: manifest.composeHash,
    identity,
    keyProvider: compose.keyProvider,
    keyProviderId: providerId(keys.provider),
    gpuPolicyHash: compose.gpuPolicyHash,
    initScriptHashes: initScriptHashes(manifest),
    mrConfig: systemConfig.mrConfig,
  });
  log.info({ binding }, "launch configuration checked");
}

async function bringUpDocker({ paths, run, log, cleanups }: BootOptions, inputs: BootInputs): Promise<Docker> {
  const { compose } = inputs.manifest;
  const dataFolder = join(paths.persistent, "var/lib/docker");
  if (compose.runner === "docker-compose") {
    // Not fatal here: Docker itself names what is wrong with the file.
    try {
      await removeOrphans(dataFolder, await composeProject(compose.dockerComposeFile ?? "", "dstack"), log);
    } catch (error) {
      log.warn({ error: errorChain(error), file: COMPOSE_FILE }, "containers of removed services were not looked for");
    }
  }
  const docker = await startDocker({
    configPath: paths.dockerConfig,
    socketPath: paths.dockerSocket,
    dataFolder,
    registryMirror: inputs.systemConfig.dockerRegistry,
    run,
    log,
  });
  cleanups.push(async () => {
    await docker.daemon.stop(20_000);
    await run("umount", ["-R", "/var/lib/docker"], { okCodes: [0, 32] });
  });
  await docker.ready();
  return docker;
}

const round = (seconds: number): number => Math.round(seconds * 10) / 10;
