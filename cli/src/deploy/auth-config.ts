import { z } from "zod";
import { readTextIfExists, writeFileAtomic } from "@dstack/files";
import { CliError } from "../errors.ts";

/**
 * The file that auth-simple reads, as far as this command edits it. Everything else in it is
 * kept as it is.
 */
const AuthConfig = z.looseObject({
  gatewayAppId: z.string().default(""),
  osImages: z.array(z.string()).default([]),
  apps: z
    .record(z.string(), z.looseObject({ composeHashes: z.array(z.string()).default([]), devices: z.array(z.string()).default([]), allowAnyDevice: z.boolean().default(false) }))
    .default({}),
});

export type AuthConfig = z.output<typeof AuthConfig>;

export interface Allowance {
  readonly osImageHash: string;
  readonly deviceId: string;
  readonly appId: string;
  readonly composeHash: string;
}

/** @throws CliError naming what is wrong in the file */
export async function readAuthConfig(path: string): Promise<AuthConfig> {
  const text = (await readTextIfExists(path)) ?? "{}";
  try {
    return AuthConfig.parse(JSON.parse(text));
  } catch (cause) {
    throw new CliError("failed", `${path} is not a valid authorization file: ${cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message}`, { cause, hint: "mend it by hand or restore it; nothing was changed" });
  }
}

export async function writeAuthConfig(path: string, config: AuthConfig): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(config, null, 2)}\n`);
}

/**
 * The configuration with this image and device allowed for the app, and exactly this compose
 * hash: an earlier version of the app may not be brought back by whoever runs the host. Pure.
 */
export function allow(config: AuthConfig, allowance: Allowance): AuthConfig {
  const appKey = keyOf(config.apps, allowance.appId);
  const app = config.apps[appKey] ?? { composeHashes: [], devices: [], allowAnyDevice: false };
  return {
    ...config,
    osImages: withHash(config.osImages, allowance.osImageHash),
    apps: { ...config.apps, [appKey]: { ...app, composeHashes: [fold(allowance.composeHash)], devices: withHash(app.devices, allowance.deviceId) } },
  };
}

/** The configuration without OS images that are none of `present`: what is gone from this host may not boot. Pure. */
export function keepImages(config: AuthConfig, present: readonly string[]): AuthConfig {
  return { ...config, osImages: config.osImages.filter((hash) => present.some((kept) => fold(kept) === fold(hash))) };
}

const fold = (hex: string): string => (hex.toLowerCase().startsWith("0x") ? hex.toLowerCase() : `0x${hex.toLowerCase()}`);

const withHash = (list: readonly string[], hash: string): string[] => (list.some((entry) => fold(entry) === fold(hash)) ? [...list] : [...list, fold(hash)]);

const keyOf = (apps: AuthConfig["apps"], appId: string): string => Object.keys(apps).find((key) => fold(key) === fold(appId)) ?? fold(appId);
