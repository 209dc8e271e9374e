import { equalBytes, toHex } from "@dstack/bytes";
import type { AppId, ReportData } from "@dstack/bytes";
import { reportDataFor } from "@dstack/attest";
import type { Attestation, Certificate } from "@dstack/attest";
import { readChildren, readDer, readOid } from "@dstack/der";
import { excerpt } from "@dstack/errors";
import { RatlsError } from "./errors.ts";
import { readDstackExtensions, type DstackExtensions, type EvidenceForm } from "./extensions.ts";
import { USAGE, X509_OID } from "./oids.ts";

/**
 * Who the peer must be. Chain and host name alone do not tell: every app gets certificates under
 * the same root and chooses its names, so one could pass as the KMS (DS #1255).
 */
export type PeerRule = KmsPeer | AppPeer;
export interface KmsPeer {
  readonly kind: "kms";
}
export interface AppPeer {
  readonly kind: "app";
  readonly appId: AppId;
}
/** Whoever the evidence shows: the verifier alone judges. Only where no root vouches for the rest of the certificate. */
export interface AttestedPeer {
  readonly kind: "attested";
}

/** Which end of the connection the peer is: a certificate that names its purposes must name this one. */
export type PeerEnd = "client" | "server";

/** Verifies evidence that a peer shows beside its role; throwing refuses the peer. */
export type EvidenceVerifier = (attestation: Attestation, expected: ReportData, form: EvidenceForm) => Promise<void>;

/**
 * Holds a peer certificate against the rule. What the certificate says counts only once its chain
 * or its evidence was verified: `verifyPeer` does both.
 * @throws RatlsError `peer-refused`, `extension-malformed`, `evidence-unsupported`
 */
export function checkPeerCertificate(
  certificateDer: Uint8Array,
  rule: PeerRule | AttestedPeer,
  end: PeerEnd = "server",
): DstackExtensions {
  const extensions = readDstackExtensions(certificateDer);
  checkPurpose(extensions.certificate, end);
  if (rule.kind === "attested") return extensions;
  const usage = rule.kind === "kms" ? USAGE.kmsRpc : USAGE.appCustom;
  if (extensions.usage === undefined) throw refused(`missing ${end} cert usage (expected ${usage})`);
  if (extensions.usage !== usage) throw refused(`Invalid ${end} cert usage: ${extensions.usage} (expected ${usage})`);
  if (rule.kind === "app") {
    if (extensions.appId === undefined) throw refused("Missing app id in the peer's certificate");
    if (!equalBytes(extensions.appId, rule.appId))
      throw refused(`Invalid app id: ${toHex(extensions.appId)} (expected ${toHex(rule.appId)})`);
  }
  return extensions;
}

/** What evidence in a certificate must be bound to: the certificate's own key. */
export const expectedReportData = (extensions: DstackExtensions): ReportData =>
  reportDataFor("ratls-cert", extensions.certificate.publicKeyInfo);

/** Certificates without the extension, as the KMS has them, are for any purpose (RFC 5280, 4.2.1.12). */
function checkPurpose(certificate: Certificate, end: PeerEnd): void {
  const extension = certificate.extensions.get(X509_OID.extendedKeyUsage);
  if (extension === undefined) return;
  const wanted = end === "server" ? X509_OID.serverAuth : X509_OID.clientAuth;
  const purposes = readChildren(readDer(extension.value, "extended key usage"), "extended key usage").map((element) =>
    readOid(element, "extended key usage"),
  );
  if (!purposes.includes(wanted))
    throw refused(`certificate is not for ${end} authentication (purposes ${excerpt(purposes.join(", "))})`);
}

const refused = (text: string): RatlsError => new RatlsError("peer-refused", text);
