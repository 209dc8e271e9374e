/**
 * Collateral judged once for a trust anchor: parsed, chains walked, signatures checked. What depends
 * on the clock is judged anew at each use.
 */
import { equalBytes, utf8 } from "@dstack/bytes";
import { commonName, leafOf, maySignRevocationLists, parseRevocationList } from "./certificate.ts";
import type { RevocationList } from "./certificate.ts";
import { CertificatePool } from "./certificate-pool.ts";
import type { PooledCertificate } from "./certificate-pool.ts";
import { checkChain, checkRevocationList, periodsOf, unexpectedName } from "./chain.ts";
import type { ChainContext, KeyedRevocationList } from "./chain.ts";
import { fail, pass } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";
import type { QuoteCollateral } from "./collateral.ts";
import type { CollateralDocuments } from "./collateral-documents.ts";
import { reading } from "./errors.ts";
import { atTime, decide, holdingOnes, isoTime, judge, signaturesOf } from "./judgement.ts";
import type { Judgement, Period, SignatureToCheck } from "./judgement.ts";
import type { PckChain } from "./pck-chain.ts";
import { DOCUMENT_NAMES, signedDocumentsOf } from "./signed-document.ts";
import { parseQeIdentity, parseTcbInfo } from "./tcb-info.ts";
import { sameAnchor } from "./trust-anchor.ts";
import type { TrustAnchor } from "./trust-anchor.ts";

export interface CollateralPlan {
  readonly collateral: QuoteCollateral;
  readonly trustAnchor: TrustAnchor;
  readonly documents: CollateralDocuments;
  readonly revocationLists: readonly KeyedRevocationList[];
  readonly judgements: readonly Judgement[];
  readonly pool: CertificatePool;
  /** What `concludeCollateral` must be told of. */
  readonly signatures: readonly SignatureToCheck[];
}

/** PCK chains that one collateral object remembers as proven: platforms of one FMSPC seen lately. */
const MAX_PCK_CHAINS = 128;

/**
 * Use it in place of the collateral it was made from: verification then skips what cannot change. It
 * counts for its own trust anchor only, and says nothing by itself: see `checksAt`.
 */
export class CheckedCollateral implements QuoteCollateral {
  readonly pckCrlIssuerChain: string;
  readonly rootCaCrl: Uint8Array;
  readonly pckCrl: Uint8Array;
  readonly tcbInfoIssuerChain: string;
  readonly tcbInfo: string;
  readonly tcbInfoSignature: Uint8Array;
  readonly qeIdentityIssuerChain: string;
  readonly qeIdentity: string;
  readonly qeIdentitySignature: Uint8Array;
  declare readonly pckCertificateChain?: string;
  readonly trustAnchor: TrustAnchor;
  readonly documents: CollateralDocuments;
  readonly revocationLists: readonly KeyedRevocationList[];
  readonly judgements: readonly Judgement[];
  /** Unix seconds: the earliest end of a document or certificate in it. */
  readonly expiresAt: number;
  /** Certificates of the collateral's own chains, and the signatures that were found to hold. */
  readonly pool: CertificatePool;
  readonly holding: ReadonlySet<SignatureToCheck>;
  /** Least recently used first. */
  readonly #pckChains: PckChain[] = [];

  /** Not for callers: `checkCollateral` of an edge makes one. */
  constructor(
    { collateral, trustAnchor, documents, revocationLists, pool, judgements }: CollateralPlan,
    holding: ReadonlySet<SignatureToCheck>,
  ) {
    this.pckCrlIssuerChain = collateral.pckCrlIssuerChain;
    this.rootCaCrl = collateral.rootCaCrl;
    this.pckCrl = collateral.pckCrl;
    this.tcbInfoIssuerChain = collateral.tcbInfoIssuerChain;
    this.tcbInfo = collateral.tcbInfo;
    this.tcbInfoSignature = collateral.tcbInfoSignature;
    this.qeIdentityIssuerChain = collateral.qeIdentityIssuerChain;
    this.qeIdentity = collateral.qeIdentity;
    this.qeIdentitySignature = collateral.qeIdentitySignature;
    if (collateral.pckCertificateChain !== undefined) this.pckCertificateChain = collateral.pckCertificateChain;
    this.trustAnchor = trustAnchor;
    this.documents = documents;
    this.revocationLists = revocationLists;
    this.judgements = judgements.map((judgement) => decide(judgement, holding));
    this.expiresAt = Math.min(...judgements.flatMap(({ periods }) => periods.map(({ until }) => until)));
    this.pool = pool;
    this.holding = holding;
  }

  /** The checks that need no quote, at a time in Unix seconds. */
  checksAt(now: number): Check[] {
    return this.judgements.map((judgement) => atTime(judgement, now));
  }

  /** A PCK chain that `remember` was told of. */
  provenPckChain(certificates: readonly Uint8Array[]): PckChain | undefined {
    const at = this.#pckChains.findLastIndex((known) => sameCertificates(known.certificates, certificates));
    if (at < 0) return undefined;
    const [chain] = this.#pckChains.splice(at, 1);
    if (chain !== undefined) this.#pckChains.push(chain);
    return chain;
  }

  /** Whether a platform passed by it: made-up ones do not get so far. */
  get proven(): boolean {
    return this.#pckChains.length > 0;
  }

  /** Keeps a chain that was judged with its signatures and these revocation lists, if it passed; least recently used out first. */
  remember(chain: PckChain): void {
    if (chain.judgement.outcome.result !== "pass" || this.provenPckChain(chain.certificates) !== undefined) return;
    this.#pckChains.push(chain);
    if (this.#pckChains.length > MAX_PCK_CHAINS) this.#pckChains.shift();
  }
}

const sameCertificates = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length && a.every((der, index) => equalBytes(der, b[index]!));

/** What of `collateral` was checked for this anchor already; undefined where nothing was. */
export function alreadyChecked(collateral: QuoteCollateral, trustAnchor: TrustAnchor): CheckedCollateral | undefined {
  return collateral instanceof CheckedCollateral && sameAnchor(collateral.trustAnchor, trustAnchor)
    ? collateral
    : undefined;
}

/**
 * Everything about collateral but its signatures and the clock.
 * @throws AttestError `collateral-malformed`, `certificate-malformed` where a document cannot be read
 */
export const planCollateral = (collateral: QuoteCollateral, trustAnchor: TrustAnchor): CollateralPlan =>
  reading("collateral-malformed", "collateral", () => planReadable(collateral, trustAnchor));

function planReadable(collateral: QuoteCollateral, trustAnchor: TrustAnchor): CollateralPlan {
  const documents: CollateralDocuments = {
    rootCrl: parseRevocationList(collateral.rootCaCrl),
    pckCrl: parseRevocationList(collateral.pckCrl),
    tcbInfo: parseTcbInfo(collateral.tcbInfo),
    qeIdentity: parseQeIdentity(collateral.qeIdentity),
  };
  const { rootCrl, pckCrl } = documents;
  const pool = new CertificatePool();
  const pckCrlChain = pool.chain(collateral.pckCrlIssuerChain, "PCK CRL issuer chain");
  const tcbChain = pool.chain(collateral.tcbInfoIssuerChain, "TCB info issuer chain");
  const qeChain = pool.chain(collateral.qeIdentityIssuerChain, "QE identity issuer chain");
  const revocationLists: readonly KeyedRevocationList[] = [
    { list: rootCrl, issuerKey: trustAnchor.publicKey },
    { list: pckCrl, issuerKey: leafOf(pckCrlChain).publicKey },
  ];
  const context: ChainContext = { anchor: trustAnchor, revocationLists, pool };
  const periods = periodsOfDocuments(documents);
  const judgements: readonly Judgement[] = [
    judge("collateral-format", () => pass("all documents are well formed")),
    judge("trust-anchor", () => checkAnchor(trustAnchor, rootCrl), [
      {
        kind: "certificate",
        what: `root "${commonName(trustAnchor.subject)}"`,
        from: trustAnchor.notBefore,
        until: trustAnchor.notAfter,
      },
    ]),
    judge("collateral-fresh", () => pass(`until ${isoTime(Math.min(...periods.map(({ until }) => until)))}`), periods),
    judge("root-crl", (signatures) =>
      checkRevocationList(rootCrl, trustAnchor.subject, trustAnchor.publicKey, signatures),
    ),
    judge(
      "pck-crl",
      (signatures) => checkPckCrl(pckCrl, pckCrlChain, context, signatures),
      periodsOf(pckCrlChain, trustAnchor),
    ),
    judge(
      "tcb-info",
      (signatures) =>
        checkSignedDocument(tcbChain, collateral.tcbInfo, collateral.tcbInfoSignature, context, signatures),
      periodsOf(tcbChain, trustAnchor),
    ),
    judge(
      "qe-identity",
      (signatures) => {
        const mixed = checkOneEvaluation(documents);
        return mixed.result === "fail"
          ? mixed
          : checkSignedDocument(qeChain, collateral.qeIdentity, collateral.qeIdentitySignature, context, signatures);
      },
      periodsOf(qeChain, trustAnchor),
    ),
  ];
  return {
    collateral,
    trustAnchor,
    documents,
    revocationLists,
    judgements,
    pool,
    signatures: signaturesOf(judgements),
  };
}

/** The second half; `holds` says of each of the plan's signatures, in order, whether it is good. */
export function concludeCollateral(plan: CollateralPlan, holds: readonly boolean[]): CheckedCollateral {
  return new CheckedCollateral(plan, holdingOnes(plan.signatures, holds));
}

const periodsOfDocuments = (documents: CollateralDocuments): Period[] =>
  signedDocumentsOf(documents).map(({ kind, from, until }) => ({
    kind: "collateral",
    what: DOCUMENT_NAMES[kind],
    from,
    until,
  }));

// Intel raises both together. Of two evaluations the enclave's part could be judged by a bar that the platform's has left.
function checkOneEvaluation({ tcbInfo, qeIdentity }: CollateralDocuments): Outcome {
  return tcbInfo.evaluationDataNumber === qeIdentity.evaluationDataNumber
    ? pass(`evaluation ${tcbInfo.evaluationDataNumber}`)
    : fail(
        `QE identity is of evaluation ${qeIdentity.evaluationDataNumber}, the TCB info of ${tcbInfo.evaluationDataNumber}; expected one evaluation`,
        "collateral-mismatch",
      );
}

function checkAnchor(anchor: TrustAnchor, rootCrl: RevocationList): Outcome {
  const name = `${commonName(anchor.subject)} (${anchor.kind})`;
  return rootCrl.revoked.has(anchor.serial)
    ? fail(`${name} is revoked by its own list`, "certificate-revoked")
    : pass(name);
}

function checkPckCrl(
  list: RevocationList,
  chain: readonly PooledCertificate[],
  context: ChainContext,
  signatures: SignatureToCheck[],
): Outcome {
  const outcome = checkChain(chain, context, signatures, "authority");
  if (outcome.result === "fail") return outcome;
  const issuer = leafOf(chain);
  if (!maySignRevocationLists(issuer))
    return fail(`"${issuer.name}" may not sign revocation lists by its key usage`, "certificate-unexpected");
  const stranger = unexpectedName("pckAuthority", issuer, context.anchor);
  if (stranger !== undefined) return stranger;
  return checkRevocationList(list, issuer.subject, issuer.publicKey, signatures);
}

// The signers stand directly under the root; a platform's own certificates do not and may not sign here.
function checkSignedDocument(
  chain: readonly PooledCertificate[],
  text: string,
  signature: Uint8Array,
  context: ChainContext,
  signatures: SignatureToCheck[],
): Outcome {
  const outcome = checkChain(chain, context, signatures);
  if (outcome.result === "fail") return outcome;
  const signer = leafOf(chain);
  const stranger = unexpectedName("documentSigner", signer, context.anchor);
  if (stranger !== undefined) return stranger;
  if (!equalBytes(signer.issuer, context.anchor.subject)) {
    return fail(
      `signer "${signer.name}" was issued by "${commonName(signer.issuer)}", expected the root`,
      "certificate-unexpected",
    );
  }
  if (signature.length !== 64)
    return fail(`signature of ${signature.length} bytes, expected 64`, "collateral-malformed");
  signatures.push({
    what: `the document, by "${signer.name}"`,
    publicKey: signer.publicKey,
    message: utf8(text),
    signature,
  });
  return outcome;
}
