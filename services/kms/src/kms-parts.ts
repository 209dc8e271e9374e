import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  AttestError,
  intelTrustAnchor,
  describePolicy,
  parsePolicyText,
  trustAnchorFromPem,
  type DocumentKind,
  type QuotePolicy,
  type TrustAnchor,
} from "@dstack/attest";
import { CollateralFetcher } from "@dstack/attest/node";
import { ImageStore } from "@dstack/image/store";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import { downloadedImages, SeenPlatforms } from "@dstack/verify";
import type { KmsConfig, WebhookConfig } from "./config/kms-config.ts";
import { KmsError } from "./errors.ts";
import type { ImageCaches } from "./image/clear-image-cache.ts";
import { noImageVerification, osImageVerifier } from "./image/os-image-verifier.ts";
import { devAuthApi, webhookAuthApi, type AuthApi } from "./release/auth-api.ts";
import type { EvidenceRule } from "./release/caller.ts";
import { pacer } from "./release/pacer.ts";
import { guestAgent } from "./self/guest-agent.ts";
import { SelfAttestation } from "./self/self-attestation.ts";
import { noSelfAuthorization, selfAuthorization, type SelfAuthorization } from "./self/self-authorization.ts";

/** What a KMS needs to judge callers and itself, before it has any key. */
export interface KmsParts {
  readonly auth: AuthApi;
  readonly evidence: EvidenceRule;
  readonly caches: ImageCaches;
  readonly self: SelfAttestation;
  readonly selfAuthorization: SelfAuthorization;
  /** Of collateral in use, by kind of document; see `CollateralFetcher`. */
  readonly collateralDaysLeft: () => ReadonlyMap<DocumentKind, number>;
}

export interface KmsPartsOptions {
  readonly config: KmsConfig;
  readonly version: string;
  readonly clock: { now(): number };
  readonly log: Logger;
  /** In the place of Intel's root, where the configuration names no other: for tests of a production folder. */
  readonly trustAnchor?: TrustAnchor;
}

/** @throws KmsError `config-invalid` where a file that the configuration names cannot be read */
export async function kmsParts(options: KmsPartsOptions): Promise<KmsParts> {
  const { config, clock, log, trustAnchor } = options;
  const auth =
    config.auth.kind === "dev" ? devAuthApi(config.auth.gatewayAppId) : await webhookOf(config.auth, options);
  const root =
    config.tdxRootPath === undefined
      ? (trustAnchor ?? intelTrustAnchor())
      : trustAnchorFromPem(await readConfigured(config.tdxRootPath, "core.attestation.root_ca.tdx"));
  const policy = config.policyPath === undefined ? undefined : await readPolicy(config.policyPath);
  log.info({ demands: describePolicy(policy) }, "what is demanded of every platform");
  const onProblem = (problem: Error): void =>
    log.warn({ error: errorChain(problem) }, "a server of collateral or its cache failed");
  const collateral = new CollateralFetcher({
    endpoints: config.pccsUrls,
    trustAnchor: root,
    cacheFolder: join(config.image.cacheDir, "collateral"),
    clock,
    onProblem,
  });
  const evidence = {
    collateral,
    trustAnchor: root,
    clock,
    pace: pacer(),
    platforms: new SeenPlatforms(clock),
    onWarning: saidOnce((warning) => log.warn({ warning }, "the policy will refuse what it takes today")),
    ...(policy === undefined ? {} : { policy }),
  };
  const images = new ImageStore({ ...config.image, timeoutMs: config.image.downloadTimeoutMs, log });
  const self = new SelfAttestation({ agent: guestAgent(config.selfAttestation.agentAddress), evidence });
  return {
    auth,
    evidence,
    self,
    collateralDaysLeft: () => collateral.daysLeft(),
    caches: { images, verifier: config.image.verify ? osImageVerifier(downloadedImages(images)) : noImageVerification },
    selfAuthorization: config.selfAttestation.authorizeSelf
      ? selfAuthorization({ self, auth, clock })
      : noSelfAuthorization,
  };
}

async function readPolicy(file: string): Promise<QuotePolicy> {
  const key = "core.attestation.policy";
  const text = await readConfigured(file, key);
  try {
    return parsePolicyText(text);
  } catch (cause) {
    if (!(cause instanceof AttestError)) throw cause;
    throw new KmsError("config-invalid", `${key}: ${file}: ${cause.message}`, { cause });
  }
}

const MAX_SAID = 64;

/** Each text once while it is among the latest: every verification warns alike. */
function saidOnce(say: (text: string) => void): (text: string) => void {
  const said = new Set<string>();
  return (text) => {
    // Ages grow by the minute: of a document its name and date are the warning.
    const key = text.replace(/ is [\d.]+ days old/g, "");
    if (said.has(key)) return;
    said.add(key);
    const [oldest] = said;
    if (said.size > MAX_SAID && oldest !== undefined) said.delete(oldest);
    say(text);
  };
}

/** A file that the configuration names. @throws KmsError `config-invalid` */
export async function readConfigured(path: string, key: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new KmsError("config-invalid", `${key}: ${path} cannot be read`, { cause });
  }
}

async function webhookOf(
  { url, timeoutMs, bearer, caFile, answerKeys }: WebhookConfig,
  { version, clock, log }: KmsPartsOptions,
): Promise<AuthApi> {
  if (bearer !== undefined && !url.startsWith("https:"))
    log.warn(
      { url },
      "the token for the auth server travels on plain http: keep that network inside the VM, or use https",
    );
  return webhookAuthApi({
    url,
    timeoutMs,
    clock,
    userAgent: `dstack-kms/${version}`,
    answerKeys,
    ...(bearer === undefined ? {} : { bearerToken: () => readToken(bearer) }),
    ...(caFile === undefined ? {} : { ca: await readConfigured(caFile, "core.auth_api.webhook.ca_cert") }),
  });
}

async function readToken(bearer: NonNullable<WebhookConfig["bearer"]>): Promise<string> {
  if ("token" in bearer) return bearer.token;
  const key = "core.auth_api.webhook.bearer_token_file";
  const token = (await readConfigured(bearer.file, key)).trim();
  if (token === "") throw new KmsError("config-invalid", `${key}: ${bearer.file} is empty`);
  return token;
}
