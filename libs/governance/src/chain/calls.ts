import { encodeDeployData, encodeFunctionData, type Address, type Hex } from "viem";
import { dstackAppAbi, dstackAppCode } from "./gen/dstack-app.ts";
import { dstackKmsAbi, dstackKmsCode } from "./gen/dstack-kms.ts";
import { erc1967ProxyAbi, erc1967ProxyCode } from "./gen/erc1967-proxy.ts";

/** One transaction before it is sent: the same whether it goes to the chain, to a Safe or to a dry run. */
export interface ContractCall {
  /** For people: what changes. */
  readonly title: string;
  /** Undefined for the creation of a contract. */
  readonly to: Address | undefined;
  readonly data: Hex;
}

/** How a new app starts. */
export interface NewApp {
  readonly owner: Address;
  readonly disableUpgrades: boolean;
  readonly requireTcbUpToDate: boolean;
  readonly allowAnyDevice: boolean;
  /** Zero for none. */
  readonly deviceId: Hex;
  readonly composeHash: Hex;
}

/** Creation of an app's code, which proxies share. */
export const createAppCode = (): ContractCall => ({
  title: "create the code of DstackApp",
  to: undefined,
  data: encodeDeployData({ abi: dstackAppAbi, bytecode: dstackAppCode }),
});

/** Creation of the KMS contract's code. */
export const createKmsCode = (): ContractCall => ({
  title: "create the code of DstackKms",
  to: undefined,
  data: encodeDeployData({ abi: dstackKmsAbi, bytecode: dstackKmsCode }),
});

/** Creation of a KMS proxy, owned from its first moment. */
export function createKmsProxy(kmsCode: Address, owner: Address, appCode: Address): ContractCall {
  const initialization = encodeFunctionData({ abi: dstackKmsAbi, functionName: "initialize", args: [owner, appCode] });
  return {
    title: `create a DstackKms owned by ${owner}`,
    to: undefined,
    data: encodeDeployData({ abi: erc1967ProxyAbi, bytecode: erc1967ProxyCode, args: [kmsCode, initialization] }),
  };
}

/** Lists of a DstackKms and what adds to and takes from them. */
const KMS_LISTS = {
  "os-image": ["addOsImageHash", "removeOsImageHash"],
  "kms-measurement": ["addKmsAggregatedMr", "removeKmsAggregatedMr"],
  "kms-device": ["addKmsDevice", "removeKmsDevice"],
} as const;

const APP_LISTS = {
  compose: ["addComposeHash", "removeComposeHash"],
  device: ["addDevice", "removeDevice"],
} as const;

export type KmsList = keyof typeof KMS_LISTS;
export type AppList = keyof typeof APP_LISTS;

export function changeKmsList(kms: Address, list: KmsList, value: Hex, isAllowed: boolean): ContractCall {
  const functionName = KMS_LISTS[list][isAllowed ? 0 : 1];
  return {
    title: `${isAllowed ? "allow" : "deny"} ${list} ${value}`,
    to: kms,
    data: encodeFunctionData({ abi: dstackKmsAbi, functionName, args: [value] }),
  };
}

export function changeAppList(app: Address, list: AppList, value: Hex, isAllowed: boolean): ContractCall {
  const functionName = APP_LISTS[list][isAllowed ? 0 : 1];
  return {
    title: `${isAllowed ? "allow" : "deny"} ${list} ${value} for app ${app}`,
    to: app,
    data: encodeFunctionData({ abi: dstackAppAbi, functionName, args: [value] }),
  };
}

export const setAnyDevice = (app: Address, isAllowed: boolean): ContractCall => ({
  title: `${isAllowed ? "allow any device" : "allow listed devices only"} for app ${app}`,
  to: app,
  data: encodeFunctionData({ abi: dstackAppAbi, functionName: "setAllowAnyDevice", args: [isAllowed] }),
});

export const setRequireTcb = (app: Address, isRequired: boolean): ContractCall => ({
  title: `${isRequired ? "require" : "do not require"} an up-to-date TCB for app ${app}`,
  to: app,
  data: encodeFunctionData({ abi: dstackAppAbi, functionName: "setRequireTcbUpToDate", args: [isRequired] }),
});

export const registerApp = (kms: Address, app: Address): ContractCall => ({
  title: `register app ${app}`,
  to: kms,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "registerApp", args: [app] }),
});

/** Shutting an app out and letting it in again; deployed contracts of the reference have neither. */
export const setAppRevoked = (kms: Address, app: Address, isRevoked: boolean): ContractCall => ({
  title: `${isRevoked ? "revoke" : "restore"} app ${app}`,
  to: kms,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: isRevoked ? "revokeApp" : "restoreApp", args: [app] }),
});

export function deployApp(
  kms: Address,
  { owner, disableUpgrades, requireTcbUpToDate, allowAnyDevice, deviceId, composeHash }: NewApp,
): ContractCall {
  const args = [owner, disableUpgrades, requireTcbUpToDate, allowAnyDevice, deviceId, composeHash] as const;
  return {
    title: `create and register an app owned by ${owner}`,
    to: kms,
    data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "deployAndRegisterApp", args }),
  };
}

export const setGateway = (kms: Address, appId: string): ContractCall => ({
  title: `set the gateway's app id to "${appId}"`,
  to: kms,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "setGatewayAppId", args: [appId] }),
});

export const setAppImplementation = (kms: Address, code: Address): ContractCall => ({
  title: `make new apps of the code at ${code}`,
  to: kms,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "setAppImplementation", args: [code] }),
});

/** What a KMS says of itself when it is set up; all hex. */
export interface KmsPublicInfo {
  readonly k256Pubkey: Hex;
  readonly caPubkey: Hex;
  readonly quote: Hex;
  readonly eventlog: Hex;
}

export const setKmsInfo = (kms: Address, info: KmsPublicInfo): ContractCall => ({
  title: "set keys and evidence of the KMS",
  to: kms,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "setKmsInfo", args: [info] }),
});

export const upgrade = (proxy: Address, code: Address): ContractCall => ({
  title: `upgrade ${proxy} to the code at ${code}`,
  to: proxy,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "upgradeToAndCall", args: [code, "0x"] }),
});

/** The first of two steps; the other is `acceptOwnership` by the new owner. */
export const transferOwnership = (proxy: Address, to: Address): ContractCall => ({
  title: `offer ${proxy} to ${to}, who must accept`,
  to: proxy,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "transferOwnership", args: [to] }),
});

export const acceptOwnership = (proxy: Address): ContractCall => ({
  title: `accept ${proxy}`,
  to: proxy,
  data: encodeFunctionData({ abi: dstackKmsAbi, functionName: "acceptOwnership" }),
});

export const disableUpgrades = (app: Address): ContractCall => ({
  title: `end upgrades of app ${app} for good`,
  to: app,
  data: encodeFunctionData({ abi: dstackAppAbi, functionName: "disableUpgrades" }),
});
