import type { Hex, PublicClient } from "viem";
import { GovernanceError } from "../errors.ts";
import { agree, type View } from "./agree.ts";
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

/** The limit that `ETH_MAX_BLOCK_AGE` sets in seconds: six hours where it is not set, none for 0. */
export function maxBlockAge(setting: number | undefined): number | undefined {
  return setting === 0 ? undefined : (setting ?? 21_600);
}

/**
 * Reads a chain through several endpoints at one block that a quorum of them has, and believes only what a
 * quorum tells alike (DS #115, #1319). Too few that do, and nothing is decided.
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
    const { chainId, height, hash, value } = await agree({
      endpoints,
      quorum,
      floor: this.#seen,
      deadlineMs,
      look: (endpoint) => this.#look(endpoint),
      tell: async ({ client }, number) => {
        const [block, told] = await Promise.all([this.#block(client, number), ask(client, number)]);
        return { hash: block, value: told };
      },
    });
    // Another read may have ended meanwhile, at a newer block.
    if (this.#seen === undefined || this.#seen.height < height) this.#seen = { chainId, height };
    return { block: { chainId, number: height, hash }, value };
  }

  async #look(endpoint: Endpoint): Promise<View> {
    const { confirmations } = this.#options;
    // Without the operator's word, the chain that was believed first stays the one.
    const wanted = this.#options.chainId ?? this.#seen?.chainId;
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
        `does not tell its finalized block (${reasonOf(cause)}); where the chain has none, say after how many confirmations a block counts (ETH_FINALITY_CONFIRMATIONS)`,
        { cause },
      );
    }
  }

  /** Hash of a block that is new enough. */
  async #block(client: PublicClient, number: bigint): Promise<Hex> {
    const { maxBlockAgeSeconds, clock } = this.#options;
    const block = await client.getBlock({ blockNumber: number });
    if (block.number !== number)
      throw new GovernanceError("chain-refused", `gave block ${block.number} for block ${number}`);
    const age = Math.floor(clock.now() / 1000) - Number(block.timestamp);
    if (maxBlockAgeSeconds !== undefined && age > maxBlockAgeSeconds)
      throw new GovernanceError("chain-stale", `block ${number} is ${age} s old, at most ${maxBlockAgeSeconds} s`);
    return block.hash;
  }
}
