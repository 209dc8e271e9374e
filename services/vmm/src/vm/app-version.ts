/** What an update of a VM replaces and a rollback puts back: the app's files and the machine it asks for. */
import { z } from "zod";
import { VmmError } from "../errors.ts";
import { encodeManifest, parseManifest, type Manifest } from "./manifest.ts";

export interface AppVersion {
  /** app-compose.json, the very bytes. */
  readonly compose: Uint8Array;
  /** Undefined where the VM has none. */
  readonly encryptedEnv: Uint8Array | undefined;
  readonly userConfig: Uint8Array | undefined;
  readonly manifest: Manifest;
}

export interface KeptVersion extends AppVersion {
  /** ISO 8601, UTC: when it was replaced. */
  readonly savedAt: string;
}

const bytes = z.base64().transform((text) => new Uint8Array(Buffer.from(text, "base64")));
const keptSchema = z.object({
  version: z.literal(1),
  saved_at: z.string(),
  compose: bytes,
  encrypted_env: bytes.optional(),
  user_config: bytes.optional(),
  manifest: z.record(z.string(), z.unknown()),
});

/** previous-version.json: one JSON object, files in base64, so that it is replaced as a whole. */
export function encodeKeptVersion({ compose, encryptedEnv, userConfig, manifest, savedAt }: KeptVersion): string {
  return JSON.stringify({
    version: 1,
    saved_at: savedAt,
    compose: base64(compose),
    ...(encryptedEnv === undefined ? {} : { encrypted_env: base64(encryptedEnv) }),
    ...(userConfig === undefined ? {} : { user_config: base64(userConfig) }),
    manifest: JSON.parse(encodeManifest(manifest)) as unknown,
  });
}

/** @throws VmmError `vm-broken` */
export function parseKeptVersion(text: string): KeptVersion {
  try {
    const kept = keptSchema.parse(JSON.parse(text));
    return {
      compose: kept.compose,
      encryptedEnv: kept.encrypted_env,
      userConfig: kept.user_config,
      manifest: parseManifest(JSON.stringify(kept.manifest)),
      savedAt: kept.saved_at,
    };
  } catch (cause) {
    const detail = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new VmmError("vm-broken", `previous-version.json is damaged: ${detail}`, { cause });
  }
}

const base64 = (data: Uint8Array): string => Buffer.from(data).toString("base64");
