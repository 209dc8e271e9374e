import { readFile } from "node:fs/promises";
import { intelTrustAnchor, trustAnchorFromPem, type TrustAnchor } from "@dstack/attest";
import { CollateralFetcher } from "@dstack/attest/node";
import { ImageStore } from "@dstack/image/store";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/rpc";
import type { KmsConfig, WebhookConfig } from "./config.ts";
import { KmsError } from "./errors.ts";
import type { ImageCaches } from "./image/clear-image-cache.ts";
import { noImageVerification, osImageVerifier } from "./image/os-image-verifier.ts";
import { devAuthApi, webhookAuthApi, type AuthApi } from "./release/auth-api.ts";
import type { EvidenceRule } from "./release/caller.ts";
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
export async function kmsParts({ config, version, clock, log, trustAnchor }: KmsPartsOptions): Promise<KmsParts> {
  const auth = config.auth.kind === "dev" ? devAuthApi(config.auth.gatewayAppId) : await webhookOf(config.auth, version, clock);
  const root = config.tdxRootPath === undefined ? (trustAnchor ?? intelTrustAnchor()) : trustAnchorFromPem(await readConfigured(config.tdxRootPath, "core.attestation.root_ca.tdx"));
  const onProblem = (problem: Error): void => log.warn({ error: errorChain(problem) }, "collateral could not be renewed");
  const evidence = { collateral: new CollateralFetcher({ endpoints: [config.pccsUrl], trustAnchor: root, clock, onProblem }), trustAnchor: root, clock };
  const images = new ImageStore({ ...config.image, timeoutMs: config.image.downloadTimeoutMs, log });
  const self = new SelfAttestation({ agent: guestAgent(config.selfAttestation.agentAddress), evidence });
  return {
    auth, evidence, self,
    caches: { images, verifier: config.image.verify ? osImageVerifier(images) : noImageVerification },
    selfAuthorization: config.selfAttestation.authorizeSelf ? selfAuthorization({ self, auth, clock }) : noSelfAuthorization,
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

async function webhookOf({ url, timeoutMs, bearer, caFile }: WebhookConfig, version: string, clock: { now(): number }): Promise<AuthApi> {
  const bearerToken = bearer === undefined ? undefined : async (): Promise<string> => ("token" in bearer ? bearer.token : (await readConfigured(bearer.file, "core.auth_api.webhook.bearer_token_file")).trim());
  return webhookAuthApi({
    url, timeoutMs, clock,
    userAgent: `dstack-kms/${version}`,
    ...(bearerToken === undefined ? {} : { bearerToken }),
    ...(caFile === undefined ? {} : { ca: await readConfigured(caFile, "core.auth_api.webhook.ca_cert") }),
  });
}
