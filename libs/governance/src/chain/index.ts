/** Policies kept in contracts on an Ethereum chain. */
export { ChainReader, maxBlockAge } from "./chain-reader.ts";
export type { BlockReference, ChainReaderOptions } from "./chain-reader.ts";
export { endpoint, originOf, reasonOf } from "./endpoint.ts";
export type { Endpoint } from "./endpoint.ts";
export { exactBootInfo, exactHex } from "./exact-boot-info.ts";
export type { ContractBootInfo } from "./exact-boot-info.ts";
export { KmsContract } from "./kms-contract.ts";
export type { ContractDecision, KmsContractInfo } from "./kms-contract.ts";
export * as calls from "./calls.ts";
export type { AppList, ContractCall, KmsList, KmsPublicInfo, NewApp } from "./calls.ts";
export { safeTransactionFile, sendCall } from "./send-calls.ts";
export type { SendOptions, SentCall } from "./send-calls.ts";
export { contractPolicy, readPolicyLog } from "./policy-log.ts";
export type { ContractAppPolicy, ContractPolicy, PolicyEvent } from "./policy-log.ts";
export { dstackAppAbi } from "./gen/dstack-app.ts";
export { dstackKmsAbi } from "./gen/dstack-kms.ts";
