/**
 * The keys of kms.toml that this KMS reads, with their defaults and what each is for: those of 0.5.5
 * to 0.6.0 load alike. The page docs/reference/kms.md is printed from here. Keys that are taken and
 * not acted on stand in unread-keys.ts.
 */
import { z } from "zod";
import { parseSize, SIZE_GRAMMARS } from "@dstack/bytes";
import { PUBLIC_PCCS } from "@dstack/attest/node";
import { oneOrMore, parseDuration } from "@dstack/config";
import { isCoded } from "@dstack/errors";
import { backupSchema } from "./backup-operators.ts";

const text = z.string();
const path = text.meta({ title: "path" });
const flag = (fallback: boolean) => z.boolean().default(fallback);
const port = (fallback: number) => z.number().int().min(0).max(65_535).meta({ title: "port" }).default(fallback);
const duration = text.meta({ title: "duration" }).transform((given, context) => {
  try {
    return parseDuration(given);
  } catch (error) {
    context.addIssue({ code: "custom", message: error instanceof Error ? error.message : "not a duration" });
    return z.NEVER;
  }
});
const perMinute = (fallback: number) => z.number().int().min(0).max(1_000_000).default(fallback);
const httpUrl = text
  .meta({ title: "http or https URL" })
  .refine(isPlainHttpUrl, "expected an http or https URL without user name, query or fragment");

const MAX_BODY_LIMIT = 64n * 1024n ** 2n;
const limitOf = (method: string) =>
  z
    .union([z.number().int().positive(), text])
    .meta({ title: 'size, such as "1 MiB"' })
    .transform(bodyLimit)
    .optional()
    .describe(`Largest request to \`${method}\`. Without it 10 MiB`);

const rpc = z.object({
  address: text.default("0.0.0.0").describe("Address of the main listener, TLS"),
  port: port(8000).describe("Its port"),
  tls: z
    .object({
      key: path.optional().describe("Only checked: the KMS makes its own key, in `core.cert_dir`"),
      certs: path.optional().describe("Only checked: the KMS makes its own certificate, in `core.cert_dir`"),
      mutual: z
        .object({
          ca_certs: path
            .optional()
            .describe(
              "Only checked: it must be `tmp-ca.crt` in `core.cert_dir`. Client certificates count by their evidence, whoever issued them",
            ),
        })
        .prefault({}),
    })
    .prefault({}),
});

const pccsUrls = oneOrMore(httpUrl, "http or https URL");
const rootFile = path.optional();
const attestation = z.object({
  insecure_allow_external_trust_anchors: flag(false).describe(
    "Insecure. Admits `core.attestation.root_ca`: whoever has that root's key can make quotes for any VM",
  ),
  urls: z
    .object({
      pccs: pccsUrls
        .optional()
        .describe(`Service for Intel's collateral. Without it \`PCCS_URL\`, else ${PUBLIC_PCCS}`),
    })
    .default({}),
  policy: path
    .optional()
    .describe(
      "Ours: policy file with demands on platforms and the age of collateral, as `attestation.policy` of the verifier and `dstack verify --policy`; read at start",
    ),
  root_ca: z
    .strictObject({
      tdx: rootFile.describe("PEM file of a root in the place of Intel's, for simulated TEEs"),
      gcp_tpm: rootFile,
      aws_nitro_enclave: rootFile,
      aws_nitro_tpm: rootFile,
      sev_snp_milan: rootFile,
      sev_snp_genoa: rootFile,
      sev_snp_turin: rootFile,
    })
    .default({}),
});

const image = z.object({
  verify: flag(true).describe(
    "Compares a VM's registers with the OS image that it names. False is insecure: any OS passes",
  ),
  cache_dir: path.default("/usr/share/dstack/images").describe("Where images are kept, by hash below `images/`"),
  download_url: text
    .meta({ title: "http or https URL with {OS_IMAGE_HASH}" })
    .default("http://localhost:8000/{OS_IMAGE_HASH}.tar.gz")
    .describe("Where images come from; they are checked against the hash"),
  download_timeout: duration.prefault("2m").describe("For one download as a whole"),
});

const webhook = z.object({
  url: httpUrl.default("http://auth-api:8000").describe("The authorization webhook: which apps and KMS may have keys"),
  timeout: duration.prefault("10s").describe("For one question to it"),
  bearer_token: text
    .default("")
    .describe("Shown to the webhook in `Authorization`. Use https with it; a secret is better in `bearer_token_file`"),
  bearer_token_file: path.optional().describe("File that holds that token; read at each question"),
  ca_cert: path
    .optional()
    .describe("PEM file of the only root that an https webhook may lead to. Without it the public ones"),
  answer_keys: z
    .array(text)
    .max(8)
    .default([])
    .describe(
      "Ours: keys of which one must have signed every answer of the webhook for the very question, 32 bytes in hex, as `dstack auth answer-key` prints them. With none, answers are believed as they come",
    ),
});

const authApi = z.object({
  type: z
    .enum(["webhook", "dev"])
    .default("webhook")
    .describe("Who decides. `dev` is insecure: every app with a valid quote gets its keys"),
  webhook: webhook.prefault({}),
  dev: z
    .object({ gateway_app_id: text.default("any").describe('The gateway\'s app id, with `type = "dev"`') })
    .prefault({}),
});

const onboard = z.object({
  enabled: flag(true).describe("Whether an empty key folder is set up; false: it ends the start"),
  auto_bootstrap_domain: text
    .default("")
    .describe("Name or address that guests call the KMS by: an empty folder gets new root keys for it at once"),
  quote_enabled: z
    .boolean()
    .optional()
    .describe(
      "Of 0.5.5 to 0.5.8. False is insecure: the two self-attestation keys are then false unless they are set, and no root key is handed out",
    ),
  address: text.default("0.0.0.0").describe("Address of the set-up listener, plain HTTP, until there are keys"),
  port: port(8000).describe("Its port"),
  require_token: flag(false).describe("Set-up is only for whoever has the token that is printed at start"),
  legacy_source_mr_aggregated: z
    .array(text.regex(/^(?:0x)?(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{96})$/, "expected 32 or 48 bytes in hex"))
    .default([])
    .describe(
      "Ours: mrAggregated of KMS up to 0.5.8 that root keys may be taken from, hex. Their certificates name no OS image, so this stands for its comparison",
    ),
});

const admin = z.object({
  enabled: flag(false).describe("Serves the administration, plain HTTP"),
  address: text.default("127.0.0.1").describe("Its address"),
  port: port(8001).describe("Its port"),
  auth_token: text
    .default("")
    .describe("Its token; else `DSTACK_KMS_ADMIN_TOKEN` or `ADMIN_API_TOKEN` of the environment"),
  htpasswd_file: text
    .meta({ title: "path" })
    .default("")
    .describe("Its users, bcrypt (`htpasswd -B`) with a cost of 4 to 14"),
  insecure_no_auth: flag(false).describe("Insecure. Whoever reaches the administration is an administrator"),
});

export const kmsSchema = z.object({
  rpc: rpc.prefault({}),
  limits: z
    .object({
      GetAppKey: limitOf("GetAppKey"),
      GetKmsKey: limitOf("GetKmsKey"),
      GetAppEnvEncryptPubKey: limitOf("GetAppEnvEncryptPubKey"),
      GetMeta: limitOf("GetMeta"),
      GetTempCaCert: limitOf("GetTempCaCert"),
      SignCert: limitOf("SignCert"),
      ClearImageCache: limitOf("ClearImageCache"),
    })
    .default({}),
  core: z
    .object({
      cert_dir: path.default("/etc/kms/certs").describe("The key folder"),
      pccs_url: pccsUrls.optional().describe("Older name of `core.attestation.urls.pccs`, which wins"),
      admin_token_hash: text
        .default("")
        .describe("SHA-256 of the token of `ClearImageCache` (0.5), hex; empty: nobody may call it"),
      site_name: text.max(200).default("").describe("Title of the set-up page"),
      enforce_self_authorization: z
        .boolean()
        .optional()
        .describe(
          "Asks the webhook about this very KMS before anything is served. Without it true; false is insecure in a TEE",
        ),
      attest_rpc_cert: z
        .boolean()
        .optional()
        .describe(
          "Evidence of this KMS in its certificate and over new root keys. Without it true; false is insecure in a TEE",
        ),
      certificates_for_0_5_5: flag(true).describe(
        "Ours: evidence stands in certificates in the form of 0.5.5 too, which takes 10 kB more; false where no guest, KMS or gateway is older than 0.5.6",
      ),
      audit_log: path.optional().describe("Ours: the audit log. Without it `audit.jsonl` in `core.cert_dir`"),
      attestation: attestation.prefault({}),
      image: image.prefault({}),
      auth_api: authApi.prefault({}),
      onboard: onboard.prefault({}),
      backup: backupSchema.prefault({}),
      own_names: z
        .array(text.min(1))
        .default([])
        .describe(
          "Ours: names and addresses of this KMS's replicas. As for its domain, no app gets a certificate that covers one",
        ),
      rate_limit: z
        .object({
          per_address: perMinute(3_000).describe(
            "Ours: calls per minute from one address (IPv6: one /64); those that evidence answered for do not count, refused ones do; 0: no limit",
          ),
          per_app: perMinute(600).describe(
            "Ours: calls of `GetAppEnvEncryptPubKey` per minute about one app from one address; 0: no limit",
          ),
        })
        .prefault({}),
      metrics: z.object({ enabled: flag(true).describe("Serves `GET /metrics` on the main listener") }).prefault({}),
      admin: admin.prefault({}),
    })
    .prefault({}),
});

/** Keys without which this KMS refuses less. */
export const PROTECTING_KEYS: readonly string[] = [
  "core.attestation.policy",
  "core.auth_api.webhook.answer_keys",
  "core.auth_api.webhook.ca_cert",
  "core.onboard.enabled",
  "core.onboard.require_token",
  "core.own_names",
  "core.rate_limit.per_address",
  "core.rate_limit.per_app",
];

export type RawKmsConfig = z.output<typeof kmsSchema>;

/** Whether a text is an http or https URL that holds no secret and nothing that is cut off. */
export function isPlainHttpUrl(given: string): boolean {
  if (!URL.canParse(given)) return false;
  const url = new URL(given);
  return (
    /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.search === "" && url.hash === ""
  );
}

function bodyLimit(value: number | string, context: z.RefinementCtx): number {
  try {
    const bytes = parseSize(value, SIZE_GRAMMARS.bodyLimit);
    if (bytes > 0n && bytes <= MAX_BODY_LIMIT) return Number(bytes);
  } catch (error) {
    if (!isCoded(error, "size-invalid")) throw error;
  }
  context.addIssue({ code: "custom", message: 'expected a size such as "1 MiB", at most 64 MiB' });
  return z.NEVER;
}
