/** The certificates that a platform's quoting enclave proves itself with: PCK leaf, PCK authority, root. */
import { equalBytes } from "@dstack/bytes";
import type { Judgement } from "./judgement.ts";
import type { PckExtension } from "./pck-extension.ts";
import { uncompressedPoint } from "./quote.ts";

export interface PckChain {
  /** DER of its certificates, leaf first: what a chain is known by, however its text was written. */
  readonly certificates: readonly Uint8Array[];
  readonly judgement: Judgement;
  readonly extension: PckExtension;
  /** Of the leaf; uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  readonly attestationKeys: AttestationKeys;
}

/**
 * Attestation keys seen with a remembered chain. A quoting enclave keeps its key for long, and the same
 * array each time lets an edge keep what it made of it.
 */
export class AttestationKeys {
  #last: Uint8Array | undefined;

  /** x and y, 64 bytes, as an uncompressed point. */
  pointOf(xy: Uint8Array): Uint8Array {
    if (this.#last !== undefined && equalBytes(this.#last.subarray(1), xy)) return this.#last;
    this.#last = uncompressedPoint(xy);
    return this.#last;
  }
}
