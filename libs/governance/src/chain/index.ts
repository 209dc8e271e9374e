/** Policies kept in contracts on an Ethereum chain. */
export { ChainReader } from "./chain-reader.ts";
export type { BlockReference, ChainReaderOptions } from "./chain-reader.ts";
export { endpoint, originOf, reasonOf } from "./endpoint.ts";
export type { Endpoint } from "./endpoint.ts";
export { exactBootInfo, exactHex } from "./exact-boot-info.ts";
export type { ContractBootInfo } from "./exact-boot-info.ts";
export { KmsContract } from "./kms-contract.ts";
export type { ContractDecision, KmsContractInfo } from "./kms-contract.ts";
export { dstackAppAbi, dstackAppCode } from "./gen/dstack-app.ts";
export { dstackKmsAbi, dstackKmsCode } from "./gen/dstack-kms.ts";
export { erc1967ProxyAbi, erc1967ProxyCode } from "./gen/erc1967-proxy.ts";
