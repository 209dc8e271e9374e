import { toHex } from "@dstack/bytes";
import type { CheckedCollateral } from "../checked-collateral.ts";
import type { QuoteCollateral } from "../collateral.ts";
import type { CollateralDocuments } from "../collateral-documents.ts";
import { describeDocument, isOlder, signedDocumentsOf } from "../signed-document.ts";
import type { SignedDocument } from "../signed-document.ts";
import { checkCollateral } from "./verify-quote.ts";

/** Two for each of some hundred platform families that Intel lists, and the lists; a bound all the same. */
const MAX_PARTS = 1024;

/**
 * The newest edition seen of each part of collateral: a server that was restored from a backup, stands still
 * or is hostile must not make a verifier forget a revocation or a raised bar, of whichever platform's answer
 * it came with. Only what was found good under the trust anchor is learnt, so that nobody but its signers
 * moves it forward.
 */
export class NewestDocuments {
  /** Least recently seen first. */
  readonly #newest = new Map<string, Part>();
  /** Counts what moved forward, so that what was found current need not be compared again for every quote. */
  #revision = 0;
  readonly #currentAt = new WeakMap<CollateralDocuments, number>();

  /** Which of its documents is older than what was seen before, or undefined. */
  olderOf(checked: CheckedCollateral): string | undefined {
    for (const part of partsOf(checked)) {
      const older = olderIn(part, this.#newest.get(part.key));
      if (older !== undefined)
        return `${describeDocument(older.edition)} is older than the one of ${describeDocument(older.known)} that was seen before; what is signed with a date only moves forward`;
    }
    return undefined;
  }

  /** The same collateral where none of it is older than what was seen; else with the newest in place of what is. */
  current(checked: CheckedCollateral): CheckedCollateral {
    if (this.#currentAt.get(checked.documents) === this.#revision) return checked;
    const newer = partsOf(checked).flatMap((part) => {
      const known = this.#newest.get(part.key);
      return known !== undefined && olderIn(part, known) !== undefined ? [known.texts] : [];
    });
    const current =
      newer.length === 0
        ? checked
        : checkCollateral(Object.assign({ ...checked }, ...newer) as QuoteCollateral, checked.trustAnchor);
    this.#currentAt.set(current.documents, this.#revision);
    return current;
  }

  /** What is older than known stays out. */
  learn(checked: CheckedCollateral): void {
    for (const part of partsOf(checked)) {
      const known = this.#newest.get(part.key);
      const newest = known !== undefined && olderIn(part, known) !== undefined ? known : part;
      if (known === undefined || olderIn(known, newest) !== undefined) this.#revision++;
      this.#newest.delete(part.key);
      this.#newest.set(part.key, newest);
      const [oldest] = this.#newest.keys();
      if (this.#newest.size > MAX_PARTS && oldest !== undefined) this.#newest.delete(oldest);
    }
  }
}

/** What of collateral moves forward together, and can take the place of an older one in that of another platform. */
interface Part {
  /** Parts with the same key replace each other. */
  readonly key: string;
  readonly documents: readonly SignedDocument[];
  readonly texts: Partial<QuoteCollateral>;
}

/**
 * A revocation list is one for all platforms of its issuer, and of two issuers of one name each has its own. TCB
 * info and QE identity are a pair of one evaluation, of which a family has two in force at a time: what one
 * family's early evaluation says must not keep out the standard one of another.
 */
function partsOf(checked: CheckedCollateral): readonly Part[] {
  const { documents, revocationLists, rootCaCrl, pckCrl, pckCrlIssuerChain } = checked;
  const { tcbInfo, tcbInfoIssuerChain, tcbInfoSignature } = checked;
  const { qeIdentity, qeIdentityIssuerChain, qeIdentitySignature } = checked;
  const signed = signedDocumentsOf(documents);
  const only = (...kinds: readonly string[]): readonly SignedDocument[] =>
    signed.filter(({ kind }) => kinds.includes(kind));
  const [ofRoot, ofPck] = revocationLists.map(({ list, issuerKey }) => `${toHex(list.issuer)} ${toHex(issuerKey)}`);
  const { id, fmspc } = documents.tcbInfo;
  return [
    { key: `root_ca_crl ${ofRoot}`, documents: only("root_ca_crl"), texts: { rootCaCrl } },
    { key: `pck_crl ${ofPck}`, documents: only("pck_crl"), texts: { pckCrl, pckCrlIssuerChain } },
    {
      key: `${id} ${toHex(fmspc)}`,
      documents: only("tcb_info", "qe_identity"),
      texts: {
        tcbInfo,
        tcbInfoIssuerChain,
        tcbInfoSignature,
        qeIdentity,
        qeIdentityIssuerChain,
        qeIdentitySignature,
      },
    },
  ];
}

/** The first document of a part that is older than the known edition of it. */
function olderIn(
  { documents }: Part,
  known: Part | undefined,
): { readonly edition: SignedDocument; readonly known: SignedDocument } | undefined {
  for (const edition of documents) {
    const other = known?.documents.find(({ kind }) => kind === edition.kind);
    if (other !== undefined && isOlder(edition, other)) return { edition, known: other };
  }
  return undefined;
}
