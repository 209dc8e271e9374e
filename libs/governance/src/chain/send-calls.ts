import { createWalletClient, custom, type Account, type Address, type Hex, type PublicClient } from "viem";
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
 * Sends one transaction and waits until it is in a block. It is tried against the present state first, so that a
 * call that would fail costs nothing.
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
    const transactionHash = await wallet.sendTransaction(message);
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
