import { describeDocument, isOlder, signedDocumentsOf } from "../signed-document.ts";
import type { SignedDocument } from "../signed-document.ts";
import type { CollateralDocuments } from "../collateral-documents.ts";

/** Intel lists some hundred platform families; a bound all the same. */
const MAX_DOCUMENTS = 1024;

/**
 * The newest edition seen of each document, by itself: a server that was restored from a backup, stands
 * still or is hostile must not make a verifier forget a revocation or a raised bar. Only what was
 * found good under the trust anchor is learnt, so that nobody but its signers moves it forward.
 */
export class NewestDocuments {
  /** Least recently seen first. */
  readonly #newest = new Map<string, SignedDocument>();
  /** Counts what moved forward, so that what was found current need not be compared again for every quote. */
  #revision = 0;
  readonly #currentAt = new WeakMap<CollateralDocuments, number>();

  /** Which of these is older than what was seen before, or undefined. */
  olderOf(documents: CollateralDocuments): string | undefined {
    for (const document of signedDocumentsOf(documents)) {
      const known = this.#newest.get(keyOf(document));
      if (known !== undefined && isOlder(document, known))
        return `${describeDocument(document)} is older than the one of ${describeDocument(known)} that was seen before; what is signed with a date only moves forward`;
    }
    return undefined;
  }

  /** Whether none of these is older than what was seen, for another platform perhaps. */
  isCurrent(documents: CollateralDocuments): boolean {
    if (this.#currentAt.get(documents) === this.#revision) return true;
    if (this.olderOf(documents) !== undefined) return false;
    this.#currentAt.set(documents, this.#revision);
    return true;
  }

  /** What is older than known stays out. */
  learn(documents: CollateralDocuments): void {
    for (const document of signedDocumentsOf(documents)) {
      const key = keyOf(document);
      const known = this.#newest.get(key);
      const newest = known !== undefined && isOlder(document, known) ? known : document;
      if (known === undefined || isOlder(known, newest)) this.#revision++;
      this.#newest.delete(key);
      this.#newest.set(key, newest);
      const [oldest] = this.#newest.keys();
      if (this.#newest.size > MAX_DOCUMENTS && oldest !== undefined) this.#newest.delete(oldest);
    }
  }
}

const keyOf = ({ kind, subject }: SignedDocument): string => `${kind} ${subject}`;
