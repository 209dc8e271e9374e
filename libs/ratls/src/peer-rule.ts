import { equalBytes, toHex } from "@dstack/bytes";
import type { AppId, ReportData } from "@dstack/bytes";
import { reportDataFor } from "@dstack/attest";
import type { Attestation } from "@dstack/attest";
import { RatlsError } from "./errors.ts";
import { readDstackExtensions, type DstackExtensions } from "./extensions.ts";
import { USAGE } from "./oids.ts";

/**
 * Who the peer must be. Chain and host name alone do not tell: every app gets certificates under
 * the same root and chooses its names, so one could pass as the KMS (DS #1255).
 */
export type PeerRule =
  | { readonly kind: "kms" }
  | { readonly kind: "app"; readonly appId: AppId };

/** Verifies evidence that a peer shows beside its role; throwing refuses the peer. */
export type EvidenceVerifier = (attestation: Attestation, expected: ReportData) => Promise<void>;

/**
 * Holds a chain-verified peer certificate against the rule.
 * @throws RatlsError `peer-refused`
 */
export function checkPeerCertificate(certificateDer: Uint8Array, rule: PeerRule): DstackExtensions {
  const extensions = readDstackExtensions(certificateDer);
  const usage = rule.kind === "kms" ? USAGE.kmsRpc : USAGE.appCustom;
  if (extensions.usage === undefined) throw refused(`missing server cert usage (expected ${usage})`);
  if (extensions.usage !== usage) throw refused(`Invalid server cert usage: ${extensions.usage} (expected ${usage})`);
  if (rule.kind === "app") {
    if (extensions.appId === undefined) throw refused("Missing app id in the peer's certificate");
    if (!equalBytes(extensions.appId, rule.appId)) throw refused(`Invalid app id: ${toHex(extensions.appId)} (expected ${toHex(rule.appId)})`);
  }
  return extensions;
}

/** What evidence in a certificate must be bound to: the certificate's own key. */
export const expectedReportData = (extensions: DstackExtensions): ReportData => reportDataFor("ratls-cert", extensions.certificate.publicKeyInfo);

const refused = (text: string): RatlsError => new RatlsError("peer-refused", text);
