/**
 * The story of one boot, from the host share to the running app; each room tells its own part.
 * In: the machine, the host's share, the way to the host.
 * Out: the app, running, with its agent, its disk and its route from the gateway.
 * Never: a step on anything unmeasured that it depends on; a boot that goes on after a step failed. Whatever fails is
 * thrown with the reason, and the caller reports it and powers off.
 */
import { BOOT_EVENT } from "@dstack/attest";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Agent, Tee } from "@dstack/agent";
import type { Logger } from "@dstack/log";
import type { Listen } from "@dstack/rpc";
import { startAgent } from "./agent/start-agent.ts";
import { pruneDocker } from "./app/app-start.ts";
import { startContainerd } from "./app/containerd.ts";
import { prepareApp } from "./app/prepare-app.ts";
import { runApp } from "./app/run-app.ts";
import { openStorage } from "./disk/open-storage.ts";
import { startGateway } from "./gateway/gateway.ts";
import { checkBootInputs, readBootInputs } from "./host/boot-inputs.ts";
import type { HostLink } from "./host/host-link.ts";
import { evidenceVerifiers } from "./identity/evidence-verifier.ts";
import { instanceInfoJson, resolveIdentity } from "./identity/identity.ts";
import { measureApp } from "./identity/measure-app.ts";
import { certificateIssuer } from "./keys/certificates.ts";
import { beginFirstContacts } from "./keys/kms-keys.ts";
import { obtainKeys } from "./keys/obtain-keys.ts";
import type { BootContext, Undo } from "./system/boot-context.ts";
import { cpuSeconds } from "./system/cpu-seconds.ts";
import type { ImageInfo } from "./system/image-info.ts";
import type { GuestPaths } from "./system/paths.ts";
import type { RunProgram } from "./system/run-program.ts";
import { syncTime } from "./system/secure-time.ts";

export interface BootOptions {
  readonly paths: GuestPaths;
  readonly image: ImageInfo;
  readonly host: HostLink;
  /** Opens the TEE with the manifest's event log version. */
  readonly openTee: (eventLogVersion: 1 | 2) => Promise<Tee>;
  readonly run: RunProgram;
  readonly log: Logger;
  /** Told of everything that has to be undone at shutdown, newest first. */
  readonly onShutdown: (undo: Undo) => void;
  readonly stopping: AbortSignal;
  /** Where the agent answers anybody; port 8090 of every address unless given. */
  readonly publicListen?: Listen;
  /** Told once the agent can answer. */
  readonly onAgent: (agent: Agent) => void;
  /** Writes a line that operators wait for. */
  readonly console: (line: string) => void;
}

/** Boots the app. @throws whatever a step throws: GuestError, ComposeError, TeeError, ... */
export async function bootGuest(options: BootOptions): Promise<void> {
  const { paths, image, host, run, log } = options;
  const boot = contextOf(options);
  const { step, progress, now } = boot;
  step("started");

  // Holds nothing of the app, so it can start before anything is known.
  const containerd = await startContainerd(paths.run, log);
  boot.onShutdown(() => containerd.stop(5_000));

  const inputs = await readBootInputs(paths, run, log);
  await checkBootInputs(inputs, image);
  step("host share read");
  const { manifest, systemConfig } = inputs;
  const { compose } = manifest;
  // A KMS is slow to reach and may be greeted before anything is measured: no evidence is shown yet.
  const firstContacts = compose.keyProvider === "kms" ? beginFirstContacts(systemConfig.kmsUrls) : new Map();

  if (compose.secureTime) await syncTime(run);
  const tee = await options.openTee(compose.eventLogVersion);
  step("TEE open");
  const identity = resolveIdentity(manifest, inputs.instanceInfo, (size) => new Uint8Array(randomBytes(size)));
  await measureApp(manifest, identity, tee);

  progress("requesting app keys");
  const verifiers = evidenceVerifiers({
    pccsUrls: systemConfig.pccsUrls,
    isDev: image.isDev,
    rootsFile: join(paths.run, "attestation/roots.json"),
    now,
  });
  const verifyEvidence = verifiers.kms;
  const keys = await obtainKeys(boot, {
    inputs,
    identity,
    tee,
    firstContacts,
    verifyEvidence,
    askHost: host.getSealingKey,
    verifyProvider: verifiers.provider,
  });

  await openStorage(boot, inputs, tee, keys.diskCryptKey);
  host.notify("instance.info", instanceInfoJson(identity));
  // What the log holds from here on is the app's word, no longer the boot's.
  await tee.emit(BOOT_EVENT.systemReady, new Uint8Array());
  progress("data disk ready");

  const variables = await prepareApp(boot, inputs, keys.envCryptKey);
  const issuer = certificateIssuer({ keys, tee, vmConfig: systemConfig.vmConfig, verifyEvidence, now });
  // The sockets come before Docker: containers of an earlier boot may start with it and mount them.
  const agent = await startAgent(boot, inputs, { image, keys, tee, issuer, publicListen: options.publicListen });
  options.onAgent(agent);
  if (compose.gatewayEnabled) startGateway(boot, { inputs, keys, issuer, host, stopping: options.stopping });

  const { docker, isUnderstood } = await runApp(boot, inputs, variables);
  options.console("[  OK  ] Finished App Compose Service.");
  progress("done");
  log.info(await cpuSeconds(), "CPU time of the boot");
  agent.demo.current(); // Begins to get one, so that the first Info has it.
  void pruneDocker(docker.api, isUnderstood, log); // Beside the app; it says itself what fails.
}

function contextOf({ paths, run, log, host, onShutdown }: BootOptions): BootContext {
  const note = (phase: string, message: string): void => {
    // Seconds since this process began, and how many of them it worked; benchmarks read them off the console.
    const { user, system } = process.cpuUsage();
    log.info({ phase, uptime_s: tenths(process.uptime()), cpu_s: tenths((user + system) / 1e6) }, message);
  };
  return {
    paths,
    run,
    log,
    now: () => Math.floor(Date.now() / 1000),
    step: (phase) => note(phase, "boot step"),
    progress: (phase) => {
      note(phase, "boot progress");
      host.notify("boot.progress", phase);
    },
    onShutdown,
  };
}

const tenths = (seconds: number): number => Math.round(seconds * 10) / 10;
