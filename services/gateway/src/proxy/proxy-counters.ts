/** What became of a proxied connection. */
export const OUTCOMES = [
  "relayed",
  "own",
  "no-sni",
  "bad-hello",
  "hello-timeout",
  "invalid-name",
  "custom-domain",
  "unknown-app",
  "no-healthy-instance",
  "port-denied",
  "over-limit",
  "connect-failed",
  "tls-failed",
  "refused-busy",
] as const;

export type Outcome = (typeof OUTCOMES)[number];

/** Plain numbers, bumped on the data path and read when metrics are scraped. */
export class ProxyCounters {
  /** Connections open now. */
  open = 0;
  /** Of these, those that carry an app's traffic. */
  relaying = 0;
  fromClientBytes = 0;
  toClientBytes = 0;
  readonly outcomes: Record<Outcome, number> = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as Record<
    Outcome,
    number
  >;
  readonly #byInstance = new Map<string, number>();

  connections(instanceId: string): number {
    return this.#byInstance.get(instanceId) ?? 0;
  }

  begin(instanceId: string): void {
    this.relaying += 1;
    this.#byInstance.set(instanceId, this.connections(instanceId) + 1);
  }

  end(instanceId: string, fromClient: number, toClient: number): void {
    this.relaying -= 1;
    this.fromClientBytes += fromClient;
    this.toClientBytes += toClient;
    const left = this.connections(instanceId) - 1;
    if (left > 0) this.#byInstance.set(instanceId, left);
    else this.#byInstance.delete(instanceId);
  }
}
