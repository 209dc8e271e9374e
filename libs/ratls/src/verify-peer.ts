import { parseCertificate } from "@dstack/attest";
import type { Certificate } from "@dstack/attest";
import { verifyCertificateChain } from "./chain.ts";
import { RatlsError } from "./errors.ts";
import { readingRefused, type DstackExtensions } from "./extensions.ts";
import {
  checkPeerCertificate,
  expectedReportData,
  type AttestedPeer,
  type EvidenceVerifier,
  type KmsPeer,
  type PeerEnd,
  type PeerRule,
} from "./peer-rule.ts";

interface CommonCheck {
  /** Which end the peer is. */
  readonly end: PeerEnd;
  /** Unix seconds. */
  readonly now: number;
}

/** The certificate leads to one of our roots; evidence in it must hold where a verifier is given. */
export interface ChainCheck extends CommonCheck {
  readonly peer: PeerRule;
  readonly roots: readonly [Certificate, ...Certificate[]];
  readonly verifyEvidence?: EvidenceVerifier;
}

/**
 * No root is known: who the peer is, only its verified evidence says. Issuer and dates of the
 * certificate prove nothing here and are not looked at.
 */
export interface EvidenceCheck extends CommonCheck {
  readonly peer: KmsPeer | AttestedPeer;
  readonly roots: "evidence-only";
  readonly verifyEvidence: EvidenceVerifier;
}

/**
 * Verifies the certificates that a peer presented, leaf first: chain or evidence, purpose, role,
 * and that the evidence is bound to the leaf's key.
 * @throws RatlsError `rule-missing`, `chain-refused`, `peer-refused`, `extension-malformed`, `evidence-unsupported`,
 *   and whatever `verifyEvidence` throws
 */
export async function verifyPeer(
  presented: readonly Uint8Array[],
  check: ChainCheck | EvidenceCheck,
): Promise<DstackExtensions> {
  requirePeerRule(check.peer, check.roots, check.verifyEvidence);
  const [leaf] = presented;
  if (leaf === undefined) throw new RatlsError("peer-refused", "peer presented no certificate");
  if (check.roots !== "evidence-only") {
    const chain = readingRefused(() => presented.map((der) => parseCertificate(der)));
    verifyCertificateChain({ chain, roots: check.roots, now: check.now });
  }
  const extensions = checkPeerCertificate(leaf, check.peer, check.end);
  await checkEvidence(extensions, check.roots, check.verifyEvidence);
  return extensions;
}

/** Evidence must be there where nothing else vouches for the peer; where it is there, it must hold. */
export async function checkEvidence(
  extensions: DstackExtensions,
  roots: unknown,
  verifyEvidence: EvidenceVerifier | undefined,
): Promise<void> {
  const { attestation, evidenceForm } = extensions;
  if (attestation === undefined || evidenceForm === undefined) {
    if (roots === "evidence-only")
      throw new RatlsError(
        "peer-refused",
        "peer's certificate carries no evidence, and no root certificate is known that could vouch for it",
      );
    return;
  }
  await verifyEvidence?.(attestation, expectedReportData(extensions), evidenceForm);
}

const KINDS: readonly unknown[] = ["kms", "app", "attested"];

/**
 * Nothing connects without somebody to say who the peer is. The types say so as well; this is for
 * callers that the type checker does not see.
 * @throws RatlsError `rule-missing`
 */
export function requirePeerRule(
  peer: PeerRule | AttestedPeer | undefined,
  roots: unknown,
  verifyEvidence: EvidenceVerifier | undefined,
): void {
  if (!KINDS.includes(peer?.kind)) throw missing("no peer rule is given; expected kms, app with its id, or attested");
  if (peer?.kind === "app" && peer.appId?.length !== 20) throw missing("the rule for an app needs its id of 20 bytes");
  if (roots === "evidence-only") {
    if (typeof verifyEvidence !== "function") throw missing("without root certificates an evidence verifier is needed");
    if (peer?.kind === "app")
      throw missing("without root certificates an app is known by its evidence alone: use the rule attested");
    return;
  }
  if (!Array.isArray(roots) || roots.length === 0) throw missing("no root certificates are given");
  if (peer?.kind === "attested") throw missing("the rule attested is for peers without root certificates");
}

const missing = (text: string): RatlsError => new RatlsError("rule-missing", `peer verification: ${text}`);
