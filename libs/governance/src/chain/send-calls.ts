import { setTimeout as sleep } from "node:timers/promises";
import {
  BaseError,
  createWalletClient,
  custom,
  NonceTooLowError,
  type Account,
  type Address,
  type Hex,
  type PublicClient,
} from "viem";
import { GovernanceError } from "../errors.ts";
import type { ContractCall } from "./calls.ts";
import { reasonOf } from "./endpoint.ts";

/** A transaction that is in a block. */
export interface SentCall {
  readonly call: ContractCall;
  readonly transactionHash: Hex;
  readonly blockNumber: bigint;
  readonly gasUsed: bigint;
  /** Where the call created a contract. */
  readonly contractAddress: Address | undefined;
}

export interface SendOptions {
  readonly client: PublicClient;
  /** Who signs: a local account, or an address that the endpoint signs for (a dry run's). */
  readonly account: Account | Address;
  readonly timeoutMs: number;
  readonly onSent?: (call: ContractCall, transactionHash: Hex) => void;
}

/**
 * Sends one transaction and waits until it is in a block, and until the endpoint counts it: servers behind one address
 * lag behind each other, and the next transaction would be given the same number. It is tried against the present
 * state first, so that a call that would fail costs nothing.
 * @throws GovernanceError `chain-refused` with the contract's words
 */
export async function sendCall(
  call: ContractCall,
  { client, account, timeoutMs, onSent }: SendOptions,
): Promise<SentCall> {
  const chainId = await client.getChainId();
  const chain = {
    id: chainId,
    name: `chain ${chainId}`,
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [] } },
  };
  const wallet = createWalletClient({ account, chain, transport: custom({ request: client.request }) });
  const message = { data: call.data, ...(call.to === undefined ? {} : { to: call.to }) };
  try {
    await client.call({ ...message, account });
    // An endpoint that signs itself numbers its transactions too.
    const sender = typeof account === "string" ? undefined : account.address;
    const numbers = sender === undefined ? undefined : numbersOf(client, sender, performance.now() + timeoutMs);
    const { nonce, transactionHash } =
      numbers === undefined
        ? { nonce: undefined, transactionHash: await wallet.sendTransaction(message) }
        : await numbers.send((next) => wallet.sendTransaction({ ...message, nonce: next }));
    onSent?.(call, transactionHash);
    const receipt = await client.waitForTransactionReceipt({
      hash: transactionHash,
      timeout: timeoutMs,
      pollingInterval: 250,
    });
    if (receipt.status !== "success")
      throw new GovernanceError(
        "chain-refused",
        `${call.title}: transaction ${transactionHash} failed in block ${receipt.blockNumber}`,
      );
    if (nonce !== undefined) await numbers?.beyond(nonce);
    return {
      call,
      transactionHash,
      blockNumber: receipt.blockNumber,
      gasUsed: receipt.gasUsed,
      contractAddress: receipt.contractAddress ?? undefined,
    };
  } catch (error) {
    if (error instanceof GovernanceError) throw error;
    throw new GovernanceError("chain-refused", `${call.title}: ${reasonOf(error)}`, { cause: error });
  }
}

const POLL_MS = 250;

/** The numbers of an account's transactions, as an endpoint counts them, until a time on `performance.now`. */
function numbersOf(client: PublicClient, address: Address, deadlineMs: number) {
  const next = (): Promise<number> => client.getTransactionCount({ address, blockTag: "pending" });
  /** Until the endpoint counts that transaction. Where it never does the transaction is in a block all the same. */
  const beyond = async (nonce: number): Promise<number> => {
    let count = await next();
    while (count <= nonce && performance.now() < deadlineMs) {
      await sleep(POLL_MS);
      count = await next();
    }
    return count;
  };
  /** A number that was used already is refused by the server that knows it: then nothing was sent. */
  const send = async (
    transaction: (nonce: number) => Promise<Hex>,
  ): Promise<{ readonly nonce: number; readonly transactionHash: Hex }> => {
    for (let nonce = await next(); ;) {
      try {
        return { nonce, transactionHash: await transaction(nonce) };
      } catch (error) {
        const isOld = error instanceof BaseError && error.walk((cause) => cause instanceof NonceTooLowError) !== null;
        const newer = isOld ? await beyond(nonce) : nonce;
        if (newer <= nonce) throw error;
        nonce = newer;
      }
    }
  };
  return { send, beyond };
}

/**
 * The calls as a file for Safe's transaction builder, so that several owners sign them.
 * Format: Safe{Wallet} Transaction Builder batch, version 1.0. Creations of contracts cannot be in it.
 * @throws GovernanceError `request-invalid`
 */
export function safeTransactionFile(
  calls: readonly ContractCall[],
  options: { readonly chainId: number; readonly safe: Address | undefined; readonly now: number },
): string {
  const creation = calls.find(({ to }) => to === undefined);
  if (creation !== undefined)
    throw new GovernanceError(
      "request-invalid",
      `${creation.title}: a Safe sends calls, it creates no contracts; send this one yourself`,
    );
  return `${JSON.stringify(
    {
      version: "1.0",
      chainId: String(options.chainId),
      createdAt: options.now,
      meta: {
        name: calls
          .map(({ title }) => title)
          .join("; ")
          .slice(0, 200),
        description: "Made by dstack auth",
        txBuilderVersion: "1.16.5",
        createdFromSafeAddress: options.safe ?? "",
        createdFromOwnerAddress: "",
      },
      transactions: calls.map(({ to, data }) => ({
        to,
        value: "0",
        data,
        contractMethod: null,
        contractInputsValues: null,
      })),
    },
    null,
    2,
  )}\n`;
}
