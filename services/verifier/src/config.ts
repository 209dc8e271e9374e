import { resolve } from "node:path";
import { z } from "zod";
import { loadConfig } from "@dstack/config";
import type { Logger } from "@dstack/log";
import { VerifierError } from "./errors.ts";

export interface VerifierConfig {
  readonly listen: { readonly host: string; readonly port: number };
  readonly imageCacheDir: string;
  /** With `{OS_IMAGE_HASH}` in it. */
  readonly imageDownloadUrl: string;
  readonly imageDownloadTimeoutMs: number;
  readonly pccsUrl: string;
  /** Path of the root that replaces Intel's. */
  readonly tdxRootPath: string | undefined;
}

const ENV_PREFIX = "DSTACK_VERIFIER_";
const DEFAULT_PCCS = "https://pccs.phala.network";
const IMAGE_HASH = "{OS_IMAGE_HASH}";

// Variables of the environment are text.
const integer = (min: number, max: number) => z.coerce.number().int().min(min).max(max);
const optionalText = z
  .string()
  .transform((text) => (text === "" ? undefined : text))
  .optional();
const flag = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]);

const schema = z.object({
  address: z.string().default("0.0.0.0"),
  port: integer(0, 65_535).default(8080),
  image_cache_dir: z.string().default("/tmp/dstack-verifier/cache"),
  image_download_url: z.string().default(`https://download.dstack.org/os-images/mr_${IMAGE_HASH}.tar.gz`),
  image_download_timeout_secs: integer(1, 86_400).default(300),
  pccs_url: optionalText,
  attestation: z
    .object({
      insecure_allow_external_trust_anchors: flag.default(false),
      urls: z.object({ pccs: optionalText, amd_kds: optionalText }).prefault({}),
      root_ca: z
        .strictObject({
          tdx: optionalText,
          gcp_tpm: optionalText,
          aws_nitro_enclave: optionalText,
          aws_nitro_tpm: optionalText,
          sev_snp_milan: optionalText,
          sev_snp_genoa: optionalText,
          sev_snp_turin: optionalText,
        })
        .prefault({}),
    })
    .prefault({}),
});

/**
 * Reads `dstack-verifier.toml` in the forms of 0.5.5 to 0.6.0. Variables `DSTACK_VERIFIER_<KEY>` win
 * over files; `__` goes down one table. Relative paths are below `cwd`.
 * @throws ConfigError, VerifierError `config-invalid`
 */
export async function loadVerifierConfig(options: {
  readonly file: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly cwd?: string;
}): Promise<VerifierConfig> {
  const { file, env, log, cwd = process.cwd() } = options;
  const raw = await loadConfig({
    name: "dstack-verifier",
    file,
    overrides: overridesOf(env),
    schema,
    log,
    cwd,
    silentKeys: ["log_level"],
  });
  const { attestation } = raw;
  const roots = Object.values(attestation.root_ca).filter((path) => path !== undefined);
  if (roots.length > 0 && !attestation.insecure_allow_external_trust_anchors) {
    throw invalid(
      "external attestation trust anchors are configured but insecure_allow_external_trust_anchors is false",
    );
  }
  return {
    listen: { host: raw.address, port: raw.port },
    imageCacheDir: resolve(cwd, raw.image_cache_dir),
    imageDownloadUrl: imageTemplate(raw.image_download_url),
    imageDownloadTimeoutMs: raw.image_download_timeout_secs * 1000,
    pccsUrl: httpUrl(attestation.urls.pccs ?? raw.pccs_url ?? env["PCCS_URL"] ?? DEFAULT_PCCS, "attestation.urls.pccs"),
    tdxRootPath: attestation.root_ca.tdx === undefined ? undefined : resolve(cwd, attestation.root_ca.tdx),
  };
}

function overridesOf(env: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || !name.startsWith(ENV_PREFIX)) continue;
    const path = name.slice(ENV_PREFIX.length).toLowerCase().split("__");
    const last = path.pop() ?? "";
    let table = root;
    for (const key of path)
      table = (typeof table[key] === "object" ? table[key] : (table[key] = {})) as Record<string, unknown>;
    table[last] = value;
  }
  return root;
}

function imageTemplate(url: string): string {
  if (!url.includes(IMAGE_HASH)) throw invalid(`image_download_url: expected ${IMAGE_HASH} in it`);
  httpUrl(url.replaceAll(IMAGE_HASH, "0"), "image_download_url");
  return url;
}

function httpUrl(text: string, key: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw invalid(`${key}: expected an http or https URL`);
  return text;
}

const invalid = (text: string): VerifierError => new VerifierError("config-invalid", text);
