import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { intelTrustAnchor, trustAnchorFromPem, type TrustAnchor } from "@dstack/attest";
import { CollateralFetcher, verifyAttestation } from "@dstack/attest/node";
import { errorChain } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import type { GatewayConfig } from "../config/gateway-config.ts";
import { GatewayError } from "../errors.ts";
import type { EvidenceVerifier } from "./client-identity.ts";

/**
 * The verifier of evidence in client certificates, undefined where no collateral service is
 * configured: certificates with evidence are refused then.
 * @throws GatewayError `config-invalid` for a root that cannot be read
 */
export async function evidenceVerifier(
  config: GatewayConfig,
  nowMs: () => number,
  log: Logger,
): Promise<{ readonly verify: EvidenceVerifier; readonly collateral: CollateralFetcher } | undefined> {
  const { attestation, pccs_url: olderUrl } = config.raw.core;
  const endpoints = attestation.urls.pccs ?? olderUrl;
  if (endpoints === undefined) return undefined;
  const trustAnchor = await readTrustAnchor(attestation.root_ca.tdx);
  const collateralSource = new CollateralFetcher({
    endpoints,
    trustAnchor,
    cacheFolder: join(config.dataDir, "collateral"),
    clock: { now: nowMs },
    onProblem: (problem) => log.warn({ error: errorChain(problem) }, "a server of collateral or its cache failed"),
  });
  const verify: EvidenceVerifier = async (evidence, expectedReportData) => {
    const verified = await verifyAttestation(evidence, {
      collateralSource,
      trustAnchor,
      now: Math.floor(nowMs() / 1_000),
      expectedReportData,
    });
    if (!verified.ok) throw new GatewayError("identity-invalid", verified.reason);
    return verified.appInfo;
  };
  return { verify, collateral: collateralSource };
}

async function readTrustAnchor(path: string | undefined): Promise<TrustAnchor> {
  if (path === undefined) return intelTrustAnchor();
  try {
    return trustAnchorFromPem(await readFile(path, "utf8"));
  } catch (cause) {
    throw new GatewayError(
      "config-invalid",
      `core.attestation.root_ca.tdx: ${path} cannot be read as a certificate: ${(cause as Error).message}`,
      { cause },
    );
  }
}
