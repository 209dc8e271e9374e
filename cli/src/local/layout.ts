/**
 * The local deployment as it lies on this host: paths, ports, keys for development, records of what runs.
 * In: the folders of the user (XDG) and DSTACK_PORT_BASE.
 * Out: one name for each path and port, so that no two places spell one differently.
 * Never: a secret in a file that others can read.
 */
import { join } from "node:path";
import { CliError } from "../terminal/errors.ts";
import { cacheDirectory, stateDirectory } from "@dstack/files";

/** Loopback ports of the local deployment. A guest reaches them at 10.0.2.2. */
export interface StackPorts {
  readonly vmm: number;
  readonly kms: number;
  readonly auth: number;
  readonly gatewayRpc: number;
  readonly gatewayAdmin: number;
  readonly wireguard: number;
  readonly pccs: number;
  readonly registry: number;
  readonly proxy: number;
  readonly keyProvider: number;
}

export const DEFAULT_PORTS: StackPorts = {
  vmm: 9080,
  kms: 9301,
  auth: 9302,
  gatewayRpc: 9303,
  gatewayAdmin: 9304,
  wireguard: 9305,
  pccs: 9306,
  registry: 9307,
  proxy: 9443,
  keyProvider: 9308,
};

/** Where a guest sees the host under QEMU's user-mode network. */
export const HOST_AS_SEEN_BY_GUEST = "10.0.2.2";
export const BASE_DOMAIN = "dstack.localhost";

/** Every path of the local deployment, so that no two places spell one differently. */
export interface StackLayout {
  readonly state: string;
  readonly cache: string;
  readonly ports: StackPorts;
  readonly stackFile: string;
  readonly lockFile: string;
  readonly logs: string;
  readonly images: string;
  readonly teeSeed: string;
  readonly teeRoot: string;
  /** The software key provider's own key: without it, disks of apps that ask for the local provider stay shut. */
  readonly sealingKey: string;
  readonly authConfig: string;
  /** Address of a webhook that is asked instead of the deployment's own. */
  readonly authWebhook: string;
  readonly kmsFolder: string;
  readonly kmsConfig: string;
  readonly kmsCerts: string;
  readonly kmsRootCa: string;
  readonly gatewayFolder: string;
  readonly gatewayConfig: string;
  readonly gatewayCerts: string;
  /** Holds the app id under which the gateway registers, in hex. */
  readonly gatewayAppId: string;
  readonly caFolder: string;
  readonly registryFolder: string;
  readonly vmmFolder: string;
  readonly vmmConfig: string;
  readonly vmmToken: string;
}

export function stackLayout(env: NodeJS.ProcessEnv, ports: StackPorts = portsFromEnvironment(env)): StackLayout {
  const state = stateDirectory(env);
  const cache = cacheDirectory(env);
  const at = (...parts: string[]): string => join(state, ...parts);
  return {
    state,
    cache,
    ports,
    stackFile: at("stack.json"),
    lockFile: at("stack.lock"),
    logs: at("logs"),
    images: join(cache, "images"),
    teeSeed: at("tee", "seed"),
    teeRoot: at("tee", "root.pem"),
    sealingKey: at("tee", "sealing-key"),
    authConfig: at("auth", "auth-config.json"),
    authWebhook: at("auth", "webhook-url"),
    kmsFolder: at("kms"),
    kmsConfig: at("kms", "kms.toml"),
    kmsCerts: at("kms", "certs"),
    kmsRootCa: at("kms", "certs", "root-ca.crt"),
    gatewayFolder: at("gateway"),
    gatewayConfig: at("gateway", "gateway.toml"),
    gatewayCerts: at("gateway", "certs"),
    gatewayAppId: at("gateway", "app-id"),
    caFolder: at("ca"),
    registryFolder: at("registry"),
    vmmFolder: at("vmm"),
    vmmConfig: at("vmm", "vmm.toml"),
    vmmToken: at("vmm", "token"),
  };
}

/**
 * `DSTACK_PORT_BASE=n` moves all ports to n, n+1, ... so that two deployments can live side by side.
 * @throws CliError `usage`
 */
function portsFromEnvironment(env: NodeJS.ProcessEnv): StackPorts {
  const text = env["DSTACK_PORT_BASE"];
  if (text === undefined || text === "") return DEFAULT_PORTS;
  const names = Object.keys(DEFAULT_PORTS) as (keyof StackPorts)[];
  const base = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  const last = 65_536 - names.length;
  if (!(base >= 1024 && base <= last))
    throw new CliError("usage", `DSTACK_PORT_BASE=${text.slice(0, 40)}: expected a number from 1024 to ${last}`);
  return Object.fromEntries(names.map((name, index) => [name, base + index])) as unknown as StackPorts;
}
