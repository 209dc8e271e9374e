import { ContractFunctionZeroDataError, BaseError, type Address, type PublicClient } from "viem";
import type { BootInfo, BootKind } from "../boot-info.ts";
import { GovernanceError } from "../errors.ts";
import type { BlockReference, ChainReader } from "./chain-reader.ts";
import { exactBootInfo } from "./exact-boot-info.ts";
import { dstackKmsAbi } from "./gen/dstack-kms.ts";

/** What a contract decided, at which block. */
export interface ContractDecision {
  readonly isAllowed: boolean;
  readonly reason: string;
  readonly gatewayAppId: string;
  readonly block: BlockReference;
}

export interface KmsContractInfo {
  readonly gatewayAppId: string;
  readonly appImplementation: Address;
  readonly block: BlockReference;
}

/** Questions to a deployed DstackKms, ours or the reference's. */
export class KmsContract {
  readonly address: Address;
  readonly #reader: ChainReader;

  constructor(address: Address, reader: ChainReader) {
    this.address = address;
    this.#reader = reader;
  }

  /**
   * The contract's answer and its gateway's app id, both of one block.
   * @throws GovernanceError `request-invalid` before anything is asked, `no-contract`, and as `ChainReader.read`
   */
  async decide(kind: BootKind, boot: BootInfo): Promise<ContractDecision> {
    const args = [exactBootInfo(boot)] as const;
    const { block, value } = await this.#reader.read(async (client, blockNumber) => {
      const at = { address: this.address, abi: dstackKmsAbi, blockNumber } as const;
      const [[isAllowed, reason], gatewayAppId] = await Promise.all([
        client.readContract({ ...at, functionName: kind === "kms" ? "isKmsAllowed" : "isAppAllowed", args }),
        client.readContract({ ...at, functionName: "gatewayAppId" }),
      ]).catch((error: unknown) => this.#explain(error));
      return { isAllowed, reason, gatewayAppId };
    });
    return { ...value, block };
  }

  /** @throws GovernanceError `no-contract`, and as `ChainReader.read` */
  async info(): Promise<KmsContractInfo> {
    const { block, value } = await this.#reader.read(async (client: PublicClient, blockNumber) => {
      const at = { address: this.address, abi: dstackKmsAbi, blockNumber } as const;
      const [gatewayAppId, appImplementation] = await Promise.all([
        client.readContract({ ...at, functionName: "gatewayAppId" }),
        client.readContract({ ...at, functionName: "appImplementation" }),
      ]).catch((error: unknown) => this.#explain(error));
      return { gatewayAppId, appImplementation };
    });
    return { ...value, block };
  }

  #explain(error: unknown): never {
    if (error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionZeroDataError) !== null) {
      throw new GovernanceError(
        "no-contract",
        `no DstackKms at ${this.address} on this chain: the call returned nothing`,
        { cause: error },
      );
    }
    throw error;
  }
}
