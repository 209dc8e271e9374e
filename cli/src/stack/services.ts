import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "@dstack/bytes";
import { readTextIfExists, writeFileAtomic, writeSecret } from "@dstack/files";
import { listImages } from "@dstack/image";
import { generateWireGuardKeys, publicKeyOf, parseWireGuardKey } from "@dstack/wireguard";
import type { Cli } from "../clients/cli.ts";
import { qemuProgram, registryProgram, SERVICE_PROGRAMS, type ServiceName } from "../local/places.ts";
import { DEVELOPMENT_DEVICE_ID } from "../local/development-device.ts";
import { changePolicyFile, keepImages, localPolicy } from "../auth/policy-file.ts";
import { checkWebhook, deploymentWebhook, externalWebhook } from "../local/auth-webhook.ts";
import { gatewayToml, kmsToml, registryYaml, vmmToml } from "./configs.ts";
import { keptSecret } from "../local/development-keys.ts";
import { startProcess, waitReady, type ManagedProcess } from "../local/managed-process.ts";
import { DEPLOYMENT_VARIABLE } from "./strays.ts";
import { issueGatewayCertificate } from "./gateway-certificate.ts";
import { accepts } from "./ports.ts";
import { recordProcesses } from "../local/stack-file.ts";

const READY_TIMEOUT_MS = 60_000;

/** The services of the local deployment, started in order and recorded before the next one starts. */
export interface Services {
  readonly processes: readonly ManagedProcess[];
  startCollateral(): Promise<void>;
  startKeyProvider(): Promise<void>;
  startRegistry(): Promise<void>;
  /** Starts auth-simple, or checks the webhook that is asked instead. */
  startAuth(note: (text: string) => void): Promise<void>;
  startKms(): Promise<void>;
  startGateway(): Promise<void>;
  startVmm(): Promise<void>;
  /** Starts a service again that ends by itself, at most `MAX_RESTARTS` times each; returns when the signal aborts. */
  keepAlive(say: (text: string) => void): Promise<void>;
}

const MAX_RESTARTS = 5;

interface Start {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  /** On loopback: it answers there once it is ready. */
  readonly port: number;
  /** Beside what it inherits. */
  readonly env?: NodeJS.ProcessEnv;
}

export function createServices({ layout, env }: Cli, signal: AbortSignal): Services {
  // The key that signs for contracts is nothing that a service may have.
  const inherited = Object.fromEntries(Object.entries(env).filter(([variable]) => variable !== "PRIVATE_KEY"));
  const processes: ManagedProcess[] = [];
  const starters = new Map<string, () => Promise<ManagedProcess>>();
  const { ports } = layout;

  const start = async ({ name, program, args, port, env: own = {} }: Start): Promise<void> => {
    signal.throwIfAborted();
    const starter = (): Promise<ManagedProcess> =>
      startProcess({
        name,
        program,
        args,
        cwd: layout.state,
        logFile: join(layout.logs, `${name}.log`),
        env: { ...inherited, ...own, [DEPLOYMENT_VARIABLE]: layout.state },
      });
    starters.set(name, starter);
    const child = await starter();
    processes.push(child);
    await recordProcesses(layout.stackFile, processes);
    await waitReady(child, () => accepts(port), READY_TIMEOUT_MS, signal);
  };
  const startNode = (service: Omit<Start, "program"> & { readonly name: ServiceName }): Promise<void> =>
    start({ ...service, program: process.execPath, args: ["--", SERVICE_PROGRAMS[service.name], ...service.args] });

  return {
    processes,
    startCollateral: async () => {
      await keptSecret(layout.teeSeed, 32);
      await startNode({
        name: "mock-pccs",
        args: ["--seed-file", layout.teeSeed, "--listen", `127.0.0.1:${ports.pccs}`, "--root-out", layout.teeRoot],
        port: ports.pccs,
      });
    },
    startKeyProvider: async () => {
      const files = ["--seed-file", layout.teeSeed, "--sealing-key-file", layout.sealingKey];
      await startNode({
        name: "key-provider",
        args: [...files, "--listen", `127.0.0.1:${ports.keyProvider}`],
        port: ports.keyProvider,
      });
    },
    startRegistry: async () => {
      await mkdir(layout.registryFolder, { recursive: true, mode: 0o700 });
      const config = join(layout.state, "registry.yml");
      await writeFileAtomic(config, registryYaml(layout));
      await start({
        name: "registry",
        program: registryProgram(layout),
        args: ["serve", config],
        port: ports.registry,
        env: { OTEL_TRACES_EXPORTER: "none" },
      });
    },
    startAuth: async (note) => {
      const gatewayAppId = await keptSecret(layout.gatewayAppId, 20);
      const external = await externalWebhook(layout);
      if (external !== undefined) return checkWebhook(external, gatewayAppId, note);
      const images = (await listImages(layout.images)).flatMap(({ osImageHash }) =>
        osImageHash === undefined ? [] : [toHex(osImageHash)],
      );
      // Present and empty denies: no other KMS may boot on this one's authority.
      const kms = { mrAggregated: [], devices: [] };
      await changePolicyFile(localPolicy(layout), (policy) => ({
        kms,
        ...keepImages(policy, images),
        gatewayAppId: `0x${gatewayAppId}`,
      }));
      await startNode({
        name: "auth-simple",
        args: [],
        port: ports.auth,
        env: { PORT: String(ports.auth), HOST: "127.0.0.1", AUTH_CONFIG_PATH: layout.authConfig },
      });
    },
    startKms: async () => {
      await mkdir(layout.kmsFolder, { recursive: true, mode: 0o700 });
      await writeSecret(layout.kmsConfig, kmsToml(layout, await deploymentWebhook(layout)));
      await startNode({ name: "kms", args: ["-c", layout.kmsConfig], port: ports.kms });
    },
    startGateway: async () => {
      await issueGatewayCertificate(layout);
      const privateKey = await wireguardKey(join(layout.gatewayFolder, "wireguard.key"));
      await writeSecret(
        layout.gatewayConfig,
        gatewayToml(layout, {
          wireguardPrivateKey: privateKey,
          wireguardPublicKey: publicKeyOf(parseWireGuardKey(privateKey)),
          adminToken: await keptSecret(join(layout.gatewayFolder, "admin-token"), 32),
        }),
      );
      await startNode({ name: "gateway", args: ["-c", layout.gatewayConfig], port: ports.proxy });
    },
    startVmm: async () => {
      await mkdir(layout.vmmFolder, { recursive: true, mode: 0o700 });
      const token = await keptSecret(layout.vmmToken, 24);
      const teeSeedHex = (await readFile(layout.teeSeed, "utf8")).trim();
      await writeSecret(
        layout.vmmConfig,
        vmmToml(layout, {
          qemuPath: qemuProgram(layout, env),
          teeSeedHex,
          token,
          webhook: await deploymentWebhook(layout),
          deviceId: DEVELOPMENT_DEVICE_ID,
        }),
      );
      await startNode({ name: "vmm", args: ["-c", layout.vmmConfig], port: ports.vmm });
    },
    keepAlive: async (say) => {
      const restarts = new Map<string, number>();
      while (!signal.aborted) {
        for (const [index, child] of processes.entries()) {
          const end = child.ended();
          const count = restarts.get(child.name) ?? 0;
          const starter = starters.get(child.name);
          if (end === undefined || starter === undefined || count >= MAX_RESTARTS || signal.aborted) continue;
          restarts.set(child.name, count + 1);
          say(
            `${child.name} ended with ${end}; ${count + 1 === MAX_RESTARTS ? "last restart" : "starting it again"} (its log: ${child.logFile})`,
          );
          processes[index] = await starter();
          await recordProcesses(layout.stackFile, processes);
        }
        await sleep(1_000, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}

async function wireguardKey(path: string): Promise<string> {
  const kept = (await readTextIfExists(path))?.trim();
  if (kept !== undefined) return kept;
  const { privateKey } = generateWireGuardKeys();
  await writeSecret(path, `${privateKey}\n`);
  return privateKey;
}
