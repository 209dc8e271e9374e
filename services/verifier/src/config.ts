import { resolve } from "node:path";
import { z } from "zod";
import { PUBLIC_PCCS } from "@dstack/attest/node";
import { loadConfig, oneOrMore, parseTcpListen, told, warnOf, type TcpAddress, type UnreadKey } from "@dstack/config";
import { asRefusal } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import { VerifierError } from "./errors.ts";

export interface VerifierConfig {
  readonly listen: TcpAddress;
  readonly imageCacheDir: string;
  /** With `{OS_IMAGE_HASH}` in it. */
  readonly imageDownloadUrl: string;
  readonly imageDownloadTimeoutMs: number;
  /** Tried in this order. */
  readonly pccsUrls: readonly string[];
  /** Path of the policy file. */
  readonly policyPath: string | undefined;
  /** Path of the root that replaces Intel's. */
  readonly tdxRootPath: string | undefined;
}

const ENV_PREFIX = "DSTACK_VERIFIER_";
const IMAGE_HASH = "{OS_IMAGE_HASH}";

// Variables of the environment are text.
const integer = (min: number, max: number) =>
  z
    .union([
      z.int(),
      z
        .string()
        .regex(/^\d{1,9}$/, "expected a whole number")
        .transform(Number),
    ])
    .pipe(z.int().min(min).max(max))
    .meta({ title: "whole number" });
const text = z.string();
const path = text.meta({ title: "path" });
const optional = (type: z.ZodString) => type.transform((given) => (given === "" ? undefined : given)).optional();
const pccsUrls = oneOrMore(text, "http or https URL");
const flag = z
  .union([z.boolean(), z.enum(["true", "false"]).transform((given) => given === "true")])
  .meta({ title: "true or false" });
const TDX_ALONE = "this verifier judges evidence of TDX alone, and refuses all other";
const OTHER_ROOTS = [
  "gcp_tpm",
  "aws_nitro_enclave",
  "aws_nitro_tpm",
  "sev_snp_milan",
  "sev_snp_genoa",
  "sev_snp_turin",
] as const;

/** The keys that are read, with their defaults. The page docs/reference/verifier.md is printed from here. */
export const verifierSchema = z.object({
  address: text.default("0.0.0.0").describe("Address that it listens on, plain HTTP"),
  port: integer(0, 65_535).meta({ title: "port" }).default(8080).describe("Its port"),
  image_cache_dir: path
    .default("/tmp/dstack-verifier/cache")
    .describe("Images by hash below `images/`, collateral below `collateral/`"),
  image_download_url: text
    .default(`https://download.dstack.org/os-images/mr_${IMAGE_HASH}.tar.gz`)
    .describe("Where images come from; they are checked against the hash, so the server need not be trusted"),
  image_download_timeout_secs: integer(1, 86_400).default(300).describe("Seconds for one download as a whole"),
  pccs_url: pccsUrls.optional().describe("Older name of `attestation.urls.pccs`, which wins"),
  attestation: z
    .object({
      insecure_allow_external_trust_anchors: flag
        .default(false)
        .describe("Admits `attestation.root_ca`: whoever has that root's key can then forge evidence"),
      urls: z
        .object({
          pccs: pccsUrls
            .optional()
            .describe(`Where collateral comes from, which Intel signs. Without it \`PCCS_URL\`, else ${PUBLIC_PCCS}`),
        })
        .prefault({}),
      policy: optional(path).describe(
        "Ours: policy file with demands on platforms and the age of collateral, as `core.attestation.policy` of the KMS and `dstack verify --policy`",
      ),
      root_ca: z
        .strictObject({
          tdx: optional(path).describe("PEM file of a root in the place of Intel's, for tests"),
          ...Object.fromEntries(OTHER_ROOTS.map((name) => [name, optional(path)])),
        })
        .prefault({}),
    })
    .prefault({}),
});

/** Keys without which this verifier refuses less. */
export const PROTECTING_KEYS: readonly string[] = ["attestation.policy"];

/** Keys of released files that this verifier does not act on. */
export const UNREAD_KEYS: readonly UnreadKey[] = [
  told("log_level", text, ["info"], "DSTACK_LOG_LEVEL alone sets the level of the log"),
  told("attestation.urls.amd_kds", text, ["", "https://kdsintf.amd.com/vcek/v1"], TDX_ALONE),
  ...OTHER_ROOTS.map((name) => told(`attestation.root_ca.${name}`, text, [""], TDX_ALONE)),
];

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
  const loaded = await loadConfig({
    name: "dstack-verifier",
    file,
    overrides: overridesOf(env),
    schema: verifierSchema,
    cwd,
    unread: UNREAD_KEYS,
    protects: PROTECTING_KEYS,
  });
  warnOf(log, loaded);
  const raw = loaded.config;
  const { attestation } = raw;
  const roots = Object.values(attestation.root_ca).filter((path) => path !== undefined);
  if (roots.length > 0 && !attestation.insecure_allow_external_trust_anchors) {
    throw invalid(
      "external attestation trust anchors are configured but insecure_allow_external_trust_anchors is false",
    );
  }
  return {
    listen: asRefusal(
      () => parseTcpListen(raw.address, raw.port),
      (cause) => invalid(`address ${cause.message}`),
    ),
    imageCacheDir: resolve(cwd, raw.image_cache_dir),
    imageDownloadUrl: imageTemplate(raw.image_download_url),
    imageDownloadTimeoutMs: raw.image_download_timeout_secs * 1000,
    pccsUrls: pccsOf([attestation.urls.pccs, raw.pccs_url, [env["PCCS_URL"] ?? PUBLIC_PCCS]]),
    policyPath: attestation.policy === undefined ? undefined : resolve(cwd, attestation.policy),
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

/** The first of these that says anything: an empty text is none. */
function pccsOf(given: readonly (readonly string[] | undefined)[]): readonly string[] {
  const [first = []] = given.filter((urls) => urls !== undefined && urls.join("") !== "");
  return first.map((url) => httpUrl(url, "attestation.urls.pccs"));
}

function httpUrl(text: string, key: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw invalid(`${key}: expected an http or https URL`);
  return text;
}

const invalid = (text: string): VerifierError => new VerifierError("config-invalid", text);
