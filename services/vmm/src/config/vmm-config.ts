/**
 * What the operator wants. In: vmm.toml in its layers, by the schema of config-schema.ts. Out: one
 * `VmmConfig`, checked: paths absolute, the listener resolved, nothing that this VMM cannot keep.
 * Never: a key that protects something taken and not obeyed; other rooms read no file and no
 * environment of their own.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { loadConfig, parseListen, warnOf } from "@dstack/config";
import { asRefusal } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { Listen } from "@dstack/rpc";
import { camelKeys, type CamelKeys } from "./camel-keys.ts";
import { VmmError } from "../errors.ts";
import { checkRules, gatewayUrlsOf, pccsUrlsOf } from "./check-config.ts";
import {
  networkingSchema,
  PROTECTING_KEYS,
  vmmConfigSchema,
  type Networking,
  type RawConfig,
} from "./config-schema.ts";
import { UNREAD_KEYS } from "./unread-keys.ts";

type Keys = CamelKeys<RawConfig>;

/** The checked configuration: all paths absolute, older names of keys resolved. */
export interface VmmConfig extends Omit<Keys, "address" | "port" | "image" | "imagePath" | "runPath" | "cvm"> {
  readonly listen: Listen;
  readonly runPath: string;
  readonly imagePath: string;
  readonly cvm: CvmConfig;
}

export interface CvmConfig extends Omit<Keys["cvm"], "gatewayUrls" | "tproxyUrls" | "pccsUrl" | "networking"> {
  readonly gatewayUrls: readonly string[];
  /** Services of Intel's collateral, in order. */
  readonly pccsUrls: readonly string[];
  /** Under the names of a manifest, which it goes into. */
  readonly networking: Networking;
}

/** @throws ConfigError, VmmError `config-invalid` naming the key */
export async function readVmmConfig(
  file: string | undefined,
  log: Logger,
  cwd: string = process.cwd(),
): Promise<VmmConfig> {
  const loaded = await loadConfig({
    name: "vmm",
    file,
    schema: vmmConfigSchema,
    unread: UNREAD_KEYS,
    protects: PROTECTING_KEYS,
    cwd,
  });
  warnOf(log, loaded);
  return checkVmmConfig(loaded.config, cwd);
}

/** @throws VmmError `config-invalid` naming the key, what it must be and what it is */
export function checkVmmConfig(raw: RawConfig, cwd: string): VmmConfig {
  checkRules(raw);
  const absolute = (path: string): string =>
    resolve(cwd, path.startsWith("~/") || path === "~" ? join(homedir(), path.slice(1)) : path);
  const { address, port, image, imagePath, runPath, ...rest } = camelKeys(raw);
  const { gatewayUrls: _newer, tproxyUrls: _older, pccsUrl: _given, ...cvm } = rest.cvm;
  return {
    ...rest,
    listen: listenOf(address, port, absolute),
    runPath: absolute(runPath || "~/.dstack-vmm/vm"),
    imagePath: absolute(image.path || imagePath || "~/.dstack-vmm/image"),
    cvm: {
      ...cvm,
      gatewayUrls: gatewayUrlsOf(raw),
      pccsUrls: pccsUrlsOf(raw),
      networking: networkingSchema.parse(raw.cvm.networking),
    },
    attestation: {
      ...rest.attestation,
      rootCa: { tdx: rest.attestation.rootCa.tdx === "" ? "" : absolute(rest.attestation.rootCa.tdx) },
    },
    authWebhook: {
      ...rest.authWebhook,
      bearerTokenFile: rest.authWebhook.bearerTokenFile === "" ? "" : absolute(rest.authWebhook.bearerTokenFile),
    },
    supervisor: {
      ...rest.supervisor,
      sock: absolute(rest.supervisor.sock),
      pidFile: absolute(rest.supervisor.pidFile),
      logFile: absolute(rest.supervisor.logFile),
      exe: rest.supervisor.exe === "" ? "" : absolute(rest.supervisor.exe),
    },
  };
}

const DEFAULT_PORT = 8000;

/** The key `port` wins over a port in the address. */
function listenOf(address: string, port: number | undefined, absolute: (path: string) => string): Listen {
  const listening = asRefusal(
    () => parseListen(address, DEFAULT_PORT),
    (cause) => new VmmError("config-invalid", `address: ${cause.message}`),
  );
  return "path" in listening
    ? { path: absolute(listening.path), mode: 0o600 }
    : { host: listening.host, port: port ?? listening.port };
}
