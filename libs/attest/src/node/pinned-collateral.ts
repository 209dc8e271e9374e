import type { CheckedCollateral } from "../checked-collateral.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import { CollateralFolder } from "./collateral-folder.ts";
import { checkCollateral } from "./verify-quote.ts";

const MAX_READ = 64;

/** What `dstack collateral pin` wrote. Files are looked at each time, and read again once they change. */
export class PinnedCollateral {
  readonly #folder: CollateralFolder;
  readonly #trustAnchor: TrustAnchor;
  readonly #read = new Map<string, { readonly stamp: string; readonly checked: CheckedCollateral }>();

  constructor(folder: string, trustAnchor: TrustAnchor) {
    this.#folder = new CollateralFolder(folder);
    this.#trustAnchor = trustAnchor;
  }

  /**
   * Served even where a check fails: verification then shows which, and nothing else may take its place.
   * @throws AttestError where the file is no collateral
   */
  async pinFor(key: string): Promise<CheckedCollateral | undefined> {
    const stamp = await this.#folder.stampOf(key);
    const known = this.#read.get(key);
    if (known !== undefined && known.stamp === stamp) return known.checked;
    this.#read.delete(key);
    // Looked at before it is read: what is written between the two is seen the next time.
    const stored = stamp === undefined ? undefined : await this.#folder.read(key);
    if (stamp === undefined || stored === undefined) return undefined;
    const checked = checkCollateral(stored.collateral, this.#trustAnchor);
    this.#read.set(key, { stamp, checked });
    const [oldest] = this.#read.keys();
    if (this.#read.size > MAX_READ && oldest !== undefined) this.#read.delete(oldest);
    return checked;
  }
}
