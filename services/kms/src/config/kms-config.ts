/**
 * What kms.toml makes of this KMS.
 * In: the files, the environment. Out: one checked value with absolute paths, and what nothing comes of.
 * The keys stand in schema.ts and unread-keys.ts, what is insecure in insecure-settings.ts; `check`
 * judges without starting anything.
 * Never: a setting that is dropped without a word, or that only a log line tells of.
 */
import type { KeyObject } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { PUBLIC_PCCS } from "@dstack/attest/node";
import { loadConfig, parseTcpListen, type LoadedConfig, type TcpAddress } from "@dstack/config";
import { asRefusal } from "@dstack/errors";
import { backupOperators, type BackupOperators } from "./backup-operators.ts";
import { KmsError } from "../errors.ts";
import { answerKey } from "@dstack/governance/answers";
import { isPlainHttpUrl, kmsSchema, PROTECTING_KEYS, type RawKmsConfig } from "./schema.ts";
import { UNREAD_KEYS } from "./unread-keys.ts";

export interface KmsConfig {
  readonly listen: TcpAddress;
  /** Body limits in bytes where they differ from the default. */
  readonly limits: RawKmsConfig["limits"];
  readonly keyFolder: string;
  /** Whether evidence stands in certificates in the form of 0.5.5 too. */
  readonly olderForm: boolean;
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
  /** Tried in this order. */
  readonly pccsUrls: readonly string[];
  /** Path of the policy file. */
  readonly policyPath: string | undefined;
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
    readonly listen: TcpAddress;
    /** Whether whoever sets up must show the token that is printed at start. */
    readonly requireToken: boolean;
    readonly siteName: string;
  };
  /** mrAggregated of sources whose evidence names no OS image and that root keys are taken from all the same; lower-case hex. */
  readonly legacySources: readonly string[];
  /** To whom the root keys are sealed; undefined where nobody is named, and there is no backup. */
  readonly backup: BackupOperators | undefined;
  /** Calls per minute from one address, and from there about one app; 0 for no limit. */
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
  /** One of them must have signed each answer; none: answers are believed as they come. */
  readonly answerKeys: readonly KeyObject[];
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
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}): Promise<LoadedConfig<KmsConfig>> {
  const { file, env, cwd = process.cwd() } = options;
  const { config: raw, ...remarks } = await loadConfig({
    name: "kms",
    file,
    schema: kmsSchema,
    cwd,
    unread: UNREAD_KEYS,
    protects: PROTECTING_KEYS,
  });
  return { config: interpretConfig(raw, env, cwd), ...remarks };
}

function interpretConfig(raw: RawKmsConfig, env: Readonly<Record<string, string | undefined>>, cwd: string): KmsConfig {
  const { core, rpc } = raw;
  const keyFolder = resolve(cwd, core.cert_dir);
  checkTlsPaths(rpc.tls, keyFolder, cwd);
  const roots = Object.keys(core.attestation.root_ca);
  if (roots.length > 0 && !core.attestation.insecure_allow_external_trust_anchors) {
    throw invalid(
      "external attestation trust anchors are configured but insecure_allow_external_trust_anchors is false",
    );
  }
  // The switch of 0.5.5 to 0.5.8 turned all attestation of the KMS itself off.
  const selfDefault = core.onboard.quote_enabled ?? true;
  return {
    listen: listenOf(rpc, "rpc.address"),
    limits: raw.limits,
    keyFolder,
    olderForm: core.certificates_for_0_5_5,
    auditLog: core.audit_log === undefined ? join(keyFolder, "audit.jsonl") : resolve(cwd, core.audit_log),
    adminTokenHash: core.admin_token_hash,
    selfAttestation: {
      authorizeSelf: core.enforce_self_authorization ?? selfDefault,
      attestCertificate: core.attest_rpc_cert ?? selfDefault,
      quoteEnabled: selfDefault,
      agentAddress: env["DSTACK_AGENT_ADDRESS"]?.trim() || undefined,
    },
    pccsUrls: core.attestation.urls.pccs ?? core.pccs_url ?? [env["PCCS_URL"] ?? PUBLIC_PCCS],
    policyPath: core.attestation.policy === undefined ? undefined : resolve(cwd, core.attestation.policy),
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
      listen: listenOf(core.onboard, "core.onboard.address"),
      requireToken: core.onboard.require_token,
      siteName: core.site_name,
    },
    legacySources: core.onboard.legacy_source_mr_aggregated.map((hex) => hex.replace(/^0x/, "").toLowerCase()),
    backup: backupOperators(core.backup),
    rateLimit: { perAddress: core.rate_limit.per_address, perApp: core.rate_limit.per_app },
    autoBootstrapDomain: core.onboard.auto_bootstrap_domain.trim(),
    ownNames: [core.onboard.auto_bootstrap_domain.trim(), ...core.own_names].filter((name) => name !== ""),
    metricsEnabled: core.metrics.enabled,
    admin: core.admin.enabled ? adminOf(core.admin, env, cwd) : undefined,
  };
}

/** Whether the administration asks for no credentials. */
export const isOpen = ({ token, htpasswdFile }: AdminConfig): boolean =>
  token === undefined && htpasswdFile === undefined;

/** The reference reads these files; here the KMS makes them, so they can only be those. */
function checkTlsPaths(tls: RawKmsConfig["rpc"]["tls"], keyFolder: string, cwd: string): void {
  for (const path of [tls.key, tls.certs]) {
    if (path !== undefined && dirname(resolve(cwd, path)) !== keyFolder)
      throw invalid(`rpc.tls: ${path} is not in core.cert_dir (${keyFolder}); the KMS makes its own certificate there`);
  }
  const issuers = tls.mutual.ca_certs;
  if (issuers !== undefined && resolve(cwd, issuers) !== join(keyFolder, "tmp-ca.crt"))
    throw invalid(
      `rpc.tls.mutual.ca_certs = "${issuers}" would have no effect: client certificates count by their evidence, whoever issued them; remove it, or set it to ${join(keyFolder, "tmp-ca.crt")}`,
    );
}

function webhookOf(webhook: RawKmsConfig["core"]["auth_api"]["webhook"], cwd: string): WebhookConfig {
  const { url, timeout: timeoutMs, bearer_token: token, bearer_token_file: file, ca_cert: ca } = webhook;
  const answerKeys = asRefusal(
    () => webhook.answer_keys.map(answerKey),
    ({ message }) => invalid(`core.auth_api.webhook.answer_keys: ${message}`),
  );
  if (token !== "" && file !== undefined)
    throw invalid("core.auth_api.webhook: bearer_token and bearer_token_file are both set; keep one");
  if (ca !== undefined && !url.startsWith("https:"))
    throw invalid("core.auth_api.webhook.ca_cert is set, but the url is not https");
  const bearer = file !== undefined ? { file: resolve(cwd, file) } : token === "" ? undefined : { token };
  return {
    kind: "webhook",
    url,
    timeoutMs,
    bearer,
    caFile: ca === undefined ? undefined : resolve(cwd, ca),
    answerKeys,
  };
}

function adminOf(
  admin: RawKmsConfig["core"]["admin"],
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): AdminConfig {
  const token = [admin.auth_token, env["DSTACK_KMS_ADMIN_TOKEN"], env["ADMIN_API_TOKEN"]]
    .map((text) => text?.trim() ?? "")
    .find((text) => text !== "");
  const htpasswdFile = admin.htpasswd_file === "" ? undefined : resolve(cwd, admin.htpasswd_file);
  const config = { ...listenOf(admin, "core.admin.address"), token, htpasswdFile };
  if (isOpen(config) && !admin.insecure_no_auth) {
    throw invalid(
      "core.admin is enabled without credentials; set core.admin.auth_token, core.admin.htpasswd_file or DSTACK_KMS_ADMIN_TOKEN",
    );
  }
  return config;
}

const listenOf = ({ address, port }: { readonly address: string; readonly port: number }, key: string): TcpAddress =>
  asRefusal(
    () => parseTcpListen(address, port),
    (cause) => invalid(`${key} ${cause.message}`),
  );

function imageTemplate(url: string): string {
  if (!url.includes("{OS_IMAGE_HASH}") || !isPlainHttpUrl(url.replaceAll("{OS_IMAGE_HASH}", "0"))) {
    throw invalid("core.image.download_url: expected an http or https URL with {OS_IMAGE_HASH} in it");
  }
  return url;
}

const invalid = (text: string): KmsError => new KmsError("config-invalid", text);
