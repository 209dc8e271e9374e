import type { Hex, PublicClient } from "viem";
import { GovernanceError } from "../errors.ts";
import { reasonOf, type Endpoint } from "./endpoint.ts";

/** The state of the chain that an answer rests on. */
export interface BlockReference {
  readonly chainId: number;
  readonly number: bigint;
  readonly hash: Hex;
}

export interface ChainReaderOptions {
  readonly endpoints: readonly Endpoint[];
  /** How many endpoints must tell the same. */
  readonly quorum: number;
  /** What every endpoint must be on; undefined where the operator does not say. */
  readonly chainId: number | undefined;
  /** Blocks below the head to read at; undefined for the chain's own finalized block. */
  readonly confirmations: number | undefined;
  /** An endpoint whose block is older does not count; undefined for no limit. */
  readonly maxBlockAgeSeconds: number | undefined;
  readonly deadlineMs: number;
  readonly clock: { now(): number };
}

interface View {
  readonly endpoint: Endpoint;
  readonly chainId: number;
  /** The newest block that counts there. */
  readonly height: bigint;
}

/**
 * Reads a chain through several endpoints at one block that a quorum of them has, and believes only what a
 * quorum tells alike (DS #115, #1319). One endpoint that lies, lags or hangs cannot decide; too few, and nothing is decided.
 */
export class ChainReader {
  readonly #options: ChainReaderOptions;
  /** The highest block that was read: the chain is never shown older again. */
  #seen: { readonly chainId: number; readonly height: bigint } | undefined;

  /** @throws GovernanceError `environment-invalid` for a quorum that cannot be had */
  constructor(options: ChainReaderOptions) {
    const { endpoints, quorum } = options;
    // More than half, so that two quorums can never tell different things.
    if (!Number.isInteger(quorum) || quorum > endpoints.length || quorum * 2 <= endpoints.length) {
      throw new GovernanceError(
        "environment-invalid",
        `a quorum of ${quorum} of ${endpoints.length} endpoints: expected more than half of them, and no more than all`,
      );
    }
    this.#options = options;
  }

  /**
   * What `ask` reads at the chosen block, as a quorum of endpoints tells it.
   * @throws GovernanceError `chain-unreachable`, `chain-wrong`, `chain-stale`, `chain-disagrees`
   */
  async read<T>(
    ask: (client: PublicClient, blockNumber: bigint) => Promise<T>,
  ): Promise<{ readonly block: BlockReference; readonly value: T }> {
    const { endpoints, quorum, deadlineMs } = this.#options;
    const expired = new GovernanceError(
      "chain-unreachable",
      `no answer of ${quorum} of ${endpoints.length} endpoints within ${deadlineMs} ms`,
    );
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(expired), deadlineMs);
    });
    try {
      return await Promise.race([this.#read(ask), deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #read<T>(
    ask: (client: PublicClient, blockNumber: bigint) => Promise<T>,
  ): Promise<{ readonly block: BlockReference; readonly value: T }> {
    const { endpoints, quorum } = this.#options;
    const looks = await settle(
      endpoints.map((endpoint) => ({ endpoint, task: () => this.#look(endpoint) })),
      quorum,
    );
    const views = looks.good.map(({ value }) => value);
    if (views.length < quorum) throw tooFew(quorum, endpoints.length, looks.bad);
    const chainId = this.#agreedChain(views);
    // The newest block that a quorum has.
    const height = views.map((view) => view.height).toSorted((a, b) => (a < b ? 1 : -1))[quorum - 1]!;
    if (this.#seen !== undefined && this.#seen.chainId === chainId && height < this.#seen.height) {
      throw new GovernanceError(
        "chain-stale",
        `the endpoints now show block ${height}, block ${this.#seen.height} was read before`,
      );
    }
    const reads = await settle(
      views
        .filter((view) => view.height >= height)
        .map(({ endpoint }) => ({
          endpoint,
          task: async () => {
            const [block, value] = await Promise.all([this.#block(endpoint, height), ask(endpoint.client, height)]);
            return { hash: block, value };
          },
        })),
      quorum,
    );
    if (reads.good.length < quorum) throw tooFew(quorum, endpoints.length, reads.bad);
    const told = mostTold(reads.good.map(({ value }) => value));
    if (told.count < quorum) {
      throw new GovernanceError(
        "chain-disagrees",
        `${reads.good.map(({ endpoint }) => endpoint.name).join(", ")} tell ${told.kinds} different things of block ${height}; ${quorum} must tell the same`,
      );
    }
    this.#seen = { chainId, height };
    return { block: { chainId, number: height, hash: told.value.hash }, value: told.value.value };
  }

  async #look(endpoint: Endpoint): Promise<View> {
    const { chainId: wanted, confirmations } = this.#options;
    const [chainId, height] = await Promise.all([endpoint.client.getChainId(), this.#height(endpoint.client)]);
    if (wanted !== undefined && chainId !== wanted)
      throw new GovernanceError("chain-wrong", `is on chain ${chainId}, expected ${wanted}`);
    if (confirmations === undefined) return { endpoint, chainId, height };
    if (height < BigInt(confirmations))
      throw new GovernanceError("chain-stale", `head ${height} has no ${confirmations} confirmations`);
    return { endpoint, chainId, height: height - BigInt(confirmations) };
  }

  async #height(client: PublicClient): Promise<bigint> {
    if (this.#options.confirmations !== undefined) return client.getBlockNumber({ cacheTime: 0 });
    try {
      const { number } = await client.getBlock({ blockTag: "finalized" });
      return number;
    } catch (cause) {
      throw new GovernanceError(
        "chain-refused",
        `does not tell its finalized block (${reasonOf(cause)}); where the chain has none, say after how many confirmations a block counts`,
        { cause },
      );
    }
  }

  /** Hash of a block that is new enough. */
  async #block(endpoint: Endpoint, number: bigint): Promise<Hex> {
    const { maxBlockAgeSeconds, clock } = this.#options;
    const block = await endpoint.client.getBlock({ blockNumber: number });
    if (block.number !== number)
      throw new GovernanceError("chain-refused", `gave block ${block.number} for block ${number}`);
    const age = Math.floor(clock.now() / 1000) - Number(block.timestamp);
    if (maxBlockAgeSeconds !== undefined && age > maxBlockAgeSeconds)
      throw new GovernanceError("chain-stale", `block ${number} is ${age} s old, at most ${maxBlockAgeSeconds} s`);
    return block.hash;
  }

  #agreedChain(views: readonly View[]): number {
    const chains = new Set(views.map(({ chainId }) => chainId));
    if (chains.size !== 1)
      throw new GovernanceError("chain-disagrees", `the endpoints are on chains ${[...chains].join(" and ")}`);
    return views[0]!.chainId;
  }
}

interface Settled<T> {
  readonly good: readonly { readonly endpoint: Endpoint; readonly value: T }[];
  readonly bad: readonly { readonly endpoint: Endpoint; readonly error: unknown }[];
}

/** All outcomes; those who hang do so until their own timeout, or until enough others have answered and a moment has passed. */
async function settle<T>(
  tasks: readonly { readonly endpoint: Endpoint; readonly task: () => Promise<T> }[],
  enough: number,
): Promise<Settled<T>> {
  const good: { endpoint: Endpoint; value: T }[] = [];
  const bad: { endpoint: Endpoint; error: unknown }[] = [];
  await new Promise<void>((resolve) => {
    let open = tasks.length;
    let grace: NodeJS.Timeout | undefined;
    if (open === 0) resolve();
    const ended = (): void => {
      open -= 1;
      if (open === 0) {
        clearTimeout(grace);
        resolve();
      } else if (good.length >= enough) {
        grace ??= setTimeout(resolve, GRACE_MS);
      }
    };
    for (const { endpoint, task } of tasks) {
      task()
        .then(
          (value) => good.push({ endpoint, value }),
          (error: unknown) => bad.push({ endpoint, error }),
        )
        .finally(ended);
    }
  });
  return { good: [...good], bad: [...bad] };
}

/** How long the others are waited for once a quorum has answered. */
const GRACE_MS = 250;

function mostTold<T>(values: readonly T[]): { readonly value: T; readonly count: number; readonly kinds: number } {
  const groups = new Map<string, { value: T; count: number }>();
  for (const value of values) {
    const key = JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));
    const group = groups.get(key) ?? { value, count: 0 };
    group.count += 1;
    groups.set(key, group);
  }
  const [first] = [...groups.values()].toSorted((a, b) => b.count - a.count);
  return { ...first!, kinds: groups.size };
}

function tooFew(quorum: number, all: number, bad: Settled<unknown>["bad"]): GovernanceError {
  const reasons = bad.map(({ endpoint, error }) => `${endpoint.name} ${reasonOf(error)}`).join("; ");
  const codes = new Set(bad.map(({ error }) => (error instanceof GovernanceError ? error.code : "chain-unreachable")));
  const code = codes.size === 1 ? [...codes][0]! : "chain-unreachable";
  return new GovernanceError(code, `fewer than ${quorum} of ${all} endpoints can be relied on: ${reasons}`);
}
