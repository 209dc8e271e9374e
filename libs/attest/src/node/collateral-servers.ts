import type { QuoteCollateral } from "../collateral.ts";
import { AttestError } from "../errors.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import type { Platform } from "./platform.ts";
import { ProvisioningClient, type ProvisioningClientOptions } from "./provisioning-client.ts";

export interface CollateralServersOptions {
  /** Base URLs of PCS or PCCS, tried in this order. */
  readonly endpoints: readonly string[];
  readonly trustAnchor: TrustAnchor;
  readonly fetch: ProvisioningClientOptions["fetch"];
  /** For all attempts of one fetch together. */
  readonly timeoutMs: number;
  /** For one endpoint where there are several. */
  readonly attemptTimeoutMs: number;
  /** Told of servers that failed where a later one did not. */
  readonly onFailure: (failure: AttestError) => void;
}

/** Provisioning services in order: what one of them cannot give, or gives wrong, the next is asked for. */
export class CollateralServers {
  readonly #options: CollateralServersOptions;
  readonly #clients: readonly ProvisioningClient[];

  /** @throws AttestError `collateral-unavailable` where an endpoint is no URL or none is given */
  constructor(options: CollateralServersOptions) {
    const { endpoints, trustAnchor, fetch } = options;
    if (endpoints.length === 0)
      throw new AttestError("collateral-unavailable", "collateral servers: expected at least one URL");
    this.#options = options;
    this.#clients = endpoints.map((url) => new ProvisioningClient({ url, trustAnchor, fetch }));
  }

  /**
   * What `accept` makes of the first answer that it takes; it throws an AttestError to refuse one.
   * @throws AttestError, the only server's own or `collateral-unavailable` with all of theirs
   */
  async ask<T>(platform: Platform, accept: (collateral: QuoteCollateral, host: string) => T): Promise<T> {
    const { timeoutMs, attemptTimeoutMs, onFailure } = this.#options;
    const whole = AbortSignal.timeout(timeoutMs);
    const failures: AttestError[] = [];
    for (const client of this.#clients) {
      // One document that fails ends the wait for the others.
      const done = new AbortController();
      const attempt = this.#clients.length === 1 ? [] : [AbortSignal.timeout(attemptTimeoutMs)];
      try {
        const signal = AbortSignal.any([whole, done.signal, ...attempt]);
        const accepted = accept(await client.collateralOf(platform, signal), client.host);
        failures.forEach(onFailure);
        return accepted;
      } catch (error) {
        if (!(error instanceof AttestError)) throw error;
        failures.push(error);
        if (whole.aborted) break;
      } finally {
        done.abort();
      }
    }
    const [first] = failures;
    if (first !== undefined && failures.length === 1) throw first;
    throw new AttestError(
      "collateral-unavailable",
      `collateral: no server of ${this.#clients.length} gave any: ${failures.map(({ message }) => message).join("; ")}`,
      { cause: first },
    );
  }
}
