import { dstackAppAbi, dstackKmsAbi } from "@dstack/governance/chain";
import {
  encodeAbiParameters,
  encodeFunctionData,
  keccak256,
  pad,
  toBytes,
  toEventSelector,
  toFunctionSelector,
  type Abi,
  type AbiEvent,
  type AbiFunction,
  type Hex,
} from "viem";
import type { Vectors } from "./vectors.ts";

/** Slots of the contracts' fields, which proxies that are deployed keep their values in. */
const STORAGE = {
  DstackKms: {
    "kmsInfo.k256Pubkey": 0,
    gatewayAppId: 4,
    registeredApps: 5,
    kmsAllowedAggregatedMrs: 6,
    kmsAllowedDeviceIds: 7,
    allowedOsImages: 8,
    appImplementation: 9,
    __gap: "10..59",
  },
  DstackApp: {
    allowedComposeHashes: 0,
    "_upgradesDisabled (byte 0) + allowAnyDevice (byte 1)": 1,
    allowedDeviceIds: 2,
    requireTcbUpToDate: 3,
    __gap: "4..52",
  },
} as const;

const POLICIES = ["kms-info", "gateway-app-id", "registered-app", "os-image", "compose-hash", "device"];

const BOOT_INFO = {
  appId: `0x${"3c".repeat(20)}`,
  composeHash: `0x${"4d".repeat(32)}`,
  instanceId: `0x${"5e".repeat(20)}`,
  deviceId: `0x${"6f".repeat(32)}`,
  mrAggregated: `0x${"1a".repeat(32)}`,
  mrSystem: `0x${"7a".repeat(32)}`,
  osImageHash: `0x${"2b".repeat(32)}`,
  tcbStatus: "UpToDate",
  advisoryIds: ["OWN-1"],
} as const;

/** What clients and deployed proxies rely on: a change of a contract that moves any of it shows here. */
export function contractVectors(): Vectors {
  const args = [BOOT_INFO] as const;
  return {
    "kms/contract-abi.json": {
      DstackKms: interfaceOf(dstackKmsAbi),
      DstackApp: interfaceOf(dstackAppAbi),
      policyTopics: Object.fromEntries(POLICIES.map((name) => [name, keccak256(toBytes(name))])),
      calldata: {
        bootInfo: BOOT_INFO,
        isAppAllowed: encodeFunctionData({ abi: dstackKmsAbi, functionName: "isAppAllowed", args }),
        isKmsAllowed: encodeFunctionData({ abi: dstackKmsAbi, functionName: "isKmsAllowed", args }),
      },
      storage: {
        ...STORAGE,
        examples: [
          element("DstackKms", "registeredApps", 5, `0x${"3c".repeat(20)}`),
          element("DstackKms", "allowedOsImages", 8, `0x${"2b".repeat(32)}`),
          element("DstackApp", "allowedComposeHashes", 0, `0x${"4d".repeat(32)}`),
        ],
      },
    },
  };
}

function interfaceOf(abi: Abi): object {
  const functions = abi.filter((item): item is AbiFunction => item.type === "function");
  const events = abi.filter((item): item is AbiEvent => item.type === "event");
  const signature = ({ name, inputs }: AbiFunction | AbiEvent): string =>
    `${name}(${inputs.map(({ type }) => type).join(",")})`;
  return {
    functions: functions.map((item) => ({ signature: signature(item), selector: toFunctionSelector(item) })),
    events: events.map((item) => ({ signature: signature(item), topic0: toEventSelector(item) })),
  };
}

/** Where a mapping keeps the value of a key. */
function element(contract: keyof typeof STORAGE, field: string, base: number, key: Hex): object {
  const slot = encodeAbiParameters([{ type: "bytes32" }, { type: "uint256" }], [pad(key), BigInt(base)]);
  return { contract, field, key, slot: keccak256(slot) };
}
