import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { loadConfig, parseDuration } from "@dstack/config";
import type { Logger } from "@dstack/log";
import { backupOperators, backupSchema, type BackupOperators } from "../backup/backup-operators.ts";
import { KmsError } from "../errors.ts";

const port = z.number().int().min(0).max(65_535);
const duration = z.string().transform((text, context) => {
  try {
    return parseDuration(text);
  } catch (error) {
    context.addIssue({ code: "custom", message: error instanceof Error ? error.message : "not a duration" });
    return z.NEVER;
  }
});
const perMinute = z.number().int().min(0).max(1_000_000);
const limit = z.union([z.number().int().positive(), z.string()]).transform(bodyLimit).optional();
const httpUrl = z.string().refine(isPlainHttpUrl, "expected an http or https URL without user name, query or fragment");

const schema = z.object({
  rpc: z
    .object({
      address: z.string().default("0.0.0.0"),
      port: port.default(8000),
      tls: z
        .object({
          key: z.string().optional(),
          certs: z.string().optional(),
          mutual: z.object({ ca_certs: z.string().optional(), mandatory: z.boolean().default(false) }).prefault({}),
        })
        .prefault({}),
    })
    .prefault({}),
  limits: z
    .object({
      GetAppKey: limit,
      GetKmsKey: limit,
      GetAppEnvEncryptPubKey: limit,
      GetMeta: limit,
      GetTempCaCert: limit,
      SignCert: limit,
      ClearImageCache: limit,
    })
    .default({}),
  core: z
    .object({
      cert_dir: z.string().default("/etc/kms/certs"),
      pccs_url: httpUrl.optional(),
      admin_token_hash: z.string().default(""),
      site_name: z.string().max(200).default(""),
      enforce_self_authorization: z.boolean().optional(),
      attest_rpc_cert: z.boolean().optional(),
      sev_snp_key_release: z.boolean().default(false),
      aws_nitro_tpm_key_release: z.boolean().default(false),
      audit_log: z.string().optional(),
      attestation: z
        .object({
          insecure_allow_external_trust_anchors: z.boolean().default(false),
          urls: z.object({ pccs: httpUrl.optional(), amd_kds: z.string().optional() }).default({}),
          root_ca: z
            .strictObject({
              tdx: z.string().optional(),
              gcp_tpm: z.string().optional(),
              aws_nitro_enclave: z.string().optional(),
              aws_nitro_tpm: z.string().optional(),
              sev_snp_milan: z.string().optional(),
              sev_snp_genoa: z.string().optional(),
              sev_snp_turin: z.string().optional(),
            })
            .default({}),
        })
        .prefault({}),
      image: z
        .object({
          verify: z.boolean().default(true),
          cache_dir: z.string().default("/usr/share/dstack/images"),
          download_url: z.string().default("http://localhost:8000/{OS_IMAGE_HASH}.tar.gz"),
          download_timeout: duration.prefault("2m"),
        })
        .prefault({}),
      auth_api: z
        .object({
          type: z.enum(["webhook", "dev"]).default("webhook"),
          webhook: z
            .object({
              url: httpUrl.default("http://auth-api:8000"),
              timeout: duration.prefault("10s"),
              bearer_token: z.string().default(""),
              bearer_token_file: z.string().optional(),
              ca_cert: z.string().optional(),
            })
            .prefault({}),
          dev: z.object({ gateway_app_id: z.string().default("any") }).prefault({}),
        })
        .prefault({}),
      onboard: z
        .object({
          enabled: z.boolean().default(true),
          auto_bootstrap_domain: z.string().default(""),
          quote_enabled: z.boolean().optional(),
          address: z.string().default("0.0.0.0"),
          port: port.default(8000),
          require_token: z.boolean().default(false),
        })
        .prefault({}),
      backup: backupSchema.prefault({}),
      own_names: z.array(z.string().min(1)).default([]),
      rate_limit: z.object({ per_address: perMinute.default(3_000), per_app: perMinute.default(600) }).prefault({}),
      metrics: z.object({ enabled: z.boolean().default(true) }).prefault({}),
      admin: z
        .object({
          enabled: z.boolean().default(false),
          address: z.string().default("127.0.0.1"),
          port: port.default(8001),
          auth_token: z.string().default(""),
          htpasswd_file: z.string().default(""),
          insecure_no_auth: z.boolean().default(false),
        })
        .prefault({}),
    })
    .prefault({}),
});

/** Keys of released configuration files that change nothing here. */
const SILENT = ["log_level", "default", "core.subject_postfix", "core.gpu"];

export interface KmsConfig {
  readonly listen: { readonly host: string; readonly port: number };
  /** Body limits in bytes where they differ from the default. */
  readonly limits: z.output<typeof schema>["limits"];
  readonly keyFolder: string;
  readonly auditLog: string;
  readonly adminTokenHash: string;
  readonly selfAttestation: {
    readonly authorizeSelf: boolean;
    readonly attestCertificate: boolean;
    /** False where `core.onboard.quote_enabled = false` of 0.5.5 to 0.5.8 stands in the file. */
    readonly quoteEnabled: boolean;
    /** `unix:PATH` or an http URL; undefined for the sockets that the guest OS makes. */
    readonly agentAddress: string | undefined;
  };
  readonly pccsUrl: string;
  /** Path of the root that replaces Intel's; only with `allowExternalTrustAnchors`. */
  readonly tdxRootPath: string | undefined;
  readonly allowExternalTrustAnchors: boolean;
  readonly image: {
    readonly verify: boolean;
    readonly cacheDir: string;
    readonly downloadUrl: string;
    readonly downloadTimeoutMs: number;
  };
  readonly auth: WebhookConfig | { readonly kind: "dev"; readonly gatewayAppId: string };
  readonly onboardEnabled: boolean;
  /** The listener that serves until there are keys. */
  readonly setUp: {
    readonly listen: { readonly host: string; readonly port: number };
    /** Whether whoever sets up must show the token that is printed at start. */
    readonly requireToken: boolean;
    readonly siteName: string;
  };
  /** To whom the root keys are sealed; undefined where nobody is named, and there is no backup. */
  readonly backup: BackupOperators | undefined;
  /** Anonymous calls per minute; 0 for no limit. */
  readonly rateLimit: { readonly perAddress: number; readonly perApp: number };
  /** Empty where the domain stands in the key folder. */
  readonly autoBootstrapDomain: string;
  /** Names and addresses of this KMS and its replicas, which no app gets a certificate for. */
  readonly ownNames: readonly string[];
  readonly metricsEnabled: boolean;
  readonly admin: AdminConfig | undefined;
}

export interface WebhookConfig {
  readonly kind: "webhook";
  readonly url: string;
  readonly timeoutMs: number;
  /** Shown to the auth server; undefined where it asks for none. */
  readonly bearer: { readonly token: string } | { readonly file: string } | undefined;
  /** Path of the only root in PEM that the auth server's certificate may lead to; the public ones where undefined. */
  readonly caFile: string | undefined;
}

export interface AdminConfig {
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
  readonly htpasswdFile: string | undefined;
}

/**
 * Reads `kms.toml` in the forms of 0.5.5 to 0.6.0; paths are resolved against the working directory.
 * @throws ConfigError, KmsError `config-invalid`
 */
export async function loadKmsConfig(options: {
  readonly file: string | undefined;
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}): Promise<KmsConfig> {
  const { file, log, env, cwd = process.cwd() } = options;
  const raw = await loadConfig({ name: "kms", file, schema, log, cwd, silentKeys: SILENT });
  const { core, rpc } = raw;
  const keyFolder = resolve(cwd, core.cert_dir);
  for (const path of [rpc.tls.key, rpc.tls.certs]) {
    if (path !== undefined && dirname(resolve(cwd, path)) !== keyFolder) {
      throw invalid(`rpc.tls: ${path} is not in core.cert_dir (${keyFolder}); the KMS makes its own certificate there`);
    }
  }
  const roots = Object.keys(core.attestation.root_ca);
  if (roots.length > 0 && !core.attestation.insecure_allow_external_trust_anchors) {
    throw invalid(
      "external attestation trust anchors are configured but insecure_allow_external_trust_anchors is false",
    );
  }
  for (const [setting, reason] of withoutEffect(raw)) log.warn({ setting }, reason);
  // The switch of 0.5.5 to 0.5.8 turned all attestation of the KMS itself off.
  const selfDefault = core.onboard.quote_enabled ?? true;
  return {
    listen: { host: rpc.address, port: rpc.port },
    limits: raw.limits,
    keyFolder,
    auditLog: core.audit_log === undefined ? join(keyFolder, "audit.jsonl") : resolve(cwd, core.audit_log),
    adminTokenHash: core.admin_token_hash,
    selfAttestation: {
      authorizeSelf: core.enforce_self_authorization ?? selfDefault,
      attestCertificate: core.attest_rpc_cert ?? selfDefault,
      quoteEnabled: selfDefault,
      agentAddress: env["DSTACK_AGENT_ADDRESS"]?.trim() || undefined,
    },
    pccsUrl: core.attestation.urls.pccs ?? core.pccs_url ?? env["PCCS_URL"] ?? "https://pccs.phala.network",
    tdxRootPath: core.attestation.root_ca.tdx === undefined ? undefined : resolve(cwd, core.attestation.root_ca.tdx),
    allowExternalTrustAnchors: core.attestation.insecure_allow_external_trust_anchors,
    image: {
      verify: core.image.verify,
      cacheDir: resolve(cwd, core.image.cache_dir),
      downloadUrl: imageTemplate(core.image.download_url),
      downloadTimeoutMs: core.image.download_timeout,
    },
    auth:
      core.auth_api.type === "dev"
        ? { kind: "dev", gatewayAppId: core.auth_api.dev.gateway_app_id }
        : webhookOf(core.auth_api.webhook, cwd),
    onboardEnabled: core.onboard.enabled,
    setUp: {
      listen: { host: core.onboard.address, port: core.onboard.port },
      requireToken: core.onboard.require_token,
      siteName: core.site_name,
    },
    backup: backupOperators(core.backup),
    rateLimit: { perAddress: core.rate_limit.per_address, perApp: core.rate_limit.per_app },
    autoBootstrapDomain: core.onboard.auto_bootstrap_domain.trim(),
    ownNames: [core.onboard.auto_bootstrap_domain.trim(), ...core.own_names].filter((name) => name !== ""),
    metricsEnabled: core.metrics.enabled,
    admin: core.admin.enabled ? adminOf(core.admin, env, cwd) : undefined,
  };
}

/** Settings of the reference that ask for something that this KMS does not do: an operator is told. */
function withoutEffect({ rpc, core }: z.output<typeof schema>): [setting: string, reason: string][] {
  const others = Object.keys(core.attestation.root_ca).filter((name) => name !== "tdx");
  const tdxAlone = "has no effect: this KMS verifies evidence of TDX alone, and refuses all other";
  return [
    ...(rpc.tls.mutual.mandatory
      ? [
          [
            "rpc.tls.mutual.mandatory = true",
            "has no effect: anybody may have a client certificate of the temporary CA, so none is required, and callers are told apart by their evidence",
          ] as [string, string],
        ]
      : []),
    ...(["sev_snp_key_release", "aws_nitro_tpm_key_release"] as const)
      .filter((name) => core[name])
      .map((name): [string, string] => [`core.${name} = true`, tdxAlone]),
    ...others.map((name): [string, string] => [`core.attestation.root_ca.${name}`, tdxAlone]),
  ];
}

/**
 * The insecure settings in force, as an operator would write them. Any of them makes a new key
 * folder a development one, and a production folder refuses them.
 */
export function insecureSettings(config: KmsConfig): string[] {
  return [
    ...(config.allowExternalTrustAnchors ? ["core.attestation.insecure_allow_external_trust_anchors = true"] : []),
    ...(config.auth.kind === "dev" ? ['core.auth_api.type = "dev"'] : []),
    ...(config.image.verify ? [] : ["core.image.verify = false"]),
    ...(config.selfAttestation.quoteEnabled ? [] : ["core.onboard.quote_enabled = false"]),
    ...(config.selfAttestation.attestCertificate ? [] : ["core.attest_rpc_cert = false"]),
    ...(config.selfAttestation.authorizeSelf ? [] : ["core.enforce_self_authorization = false"]),
    ...(config.admin !== undefined && isOpen(config.admin) ? ["core.admin.insecure_no_auth = true"] : []),
  ];
}

/**
 * The insecure settings with which root keys never leave, whoever asks: callers are then not
 * checked as another KMS would have to be.
 */
export function settingsAgainstHandOver(config: KmsConfig): string[] {
  return [
    ...(config.auth.kind === "dev" ? ['core.auth_api.type = "dev"'] : []),
    ...(config.image.verify ? [] : ["core.image.verify = false"]),
    ...(config.selfAttestation.quoteEnabled ? [] : ["core.onboard.quote_enabled = false"]),
  ];
}

const isOpen = ({ token, htpasswdFile }: AdminConfig): boolean => token === undefined && htpasswdFile === undefined;

function webhookOf(webhook: z.output<typeof schema>["core"]["auth_api"]["webhook"], cwd: string): WebhookConfig {
  const { url, timeout: timeoutMs, bearer_token: token, bearer_token_file: file, ca_cert: ca } = webhook;
  if (token !== "" && file !== undefined)
    throw invalid("core.auth_api.webhook: bearer_token and bearer_token_file are both set; keep one");
  if (ca !== undefined && !url.startsWith("https:"))
    throw invalid("core.auth_api.webhook.ca_cert is set, but the url is not https");
  const bearer = file !== undefined ? { file: resolve(cwd, file) } : token === "" ? undefined : { token };
  return { kind: "webhook", url, timeoutMs, bearer, caFile: ca === undefined ? undefined : resolve(cwd, ca) };
}

function adminOf(
  admin: z.output<typeof schema>["core"]["admin"],
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): AdminConfig {
  const token = [admin.auth_token, env["DSTACK_KMS_ADMIN_TOKEN"], env["ADMIN_API_TOKEN"]]
    .map((text) => text?.trim() ?? "")
    .find((text) => text !== "");
  const htpasswdFile = admin.htpasswd_file === "" ? undefined : resolve(cwd, admin.htpasswd_file);
  const config = { host: admin.address, port: admin.port, token, htpasswdFile };
  if (isOpen(config) && !admin.insecure_no_auth) {
    throw invalid(
      "core.admin is enabled without credentials; set core.admin.auth_token, core.admin.htpasswd_file or DSTACK_KMS_ADMIN_TOKEN",
    );
  }
  return config;
}

function imageTemplate(url: string): string {
  if (!url.includes("{OS_IMAGE_HASH}") || !isPlainHttpUrl(url.replaceAll("{OS_IMAGE_HASH}", "0"))) {
    throw invalid("core.image.download_url: expected an http or https URL with {OS_IMAGE_HASH} in it");
  }
  return url;
}

function isPlainHttpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  return (
    /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.search === "" && url.hash === ""
  );
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, kb: 1e3, kib: 1024, mb: 1e6, mib: 1024 ** 2 };

function bodyLimit(value: number | string, context: z.RefinementCtx): number {
  const match = /^(\d{1,9})\s*([a-zA-Z]*)$/.exec(String(value).trim());
  const bytes = match === null ? Number.NaN : Number(match[1]) * (UNITS[(match[2] ?? "").toLowerCase()] ?? Number.NaN);
  if (bytes > 0 && bytes <= 64 * 1024 ** 2) return bytes;
  context.addIssue({ code: "custom", message: 'expected a size such as "1 MiB", at most 64 MiB' });
  return z.NEVER;
}

const invalid = (text: string): KmsError => new KmsError("config-invalid", text);
