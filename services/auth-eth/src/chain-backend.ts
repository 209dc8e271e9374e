import { parseBootInfo } from "@dstack/governance";
import { exactBootInfo, KmsContract, originOf, type BlockReference } from "@dstack/governance/chain";
import type { WebhookBackend } from "@dstack/governance/webhook";
import type { DenyList } from "./deny-list.ts";

/** What clients are told of every failure; the log has the cause. */
const UNAVAILABLE = "authorization backend unavailable";

export interface ChainBackendOptions {
  readonly contract: KmsContract;
  /** Its address as the operator spelled it. */
  readonly address: string;
  readonly rpcUrls: readonly string[];
  readonly denied: DenyList;
}

/** Decides by a DstackKms contract and the contracts of the apps registered there. */
export function chainBackend({ contract, address, rpcUrls, denied }: ChainBackendOptions): WebhookBackend {
  return {
    info: async () => {
      const { gatewayAppId, appImplementation, block } = await contract.info();
      return {
        kmsContractAddr: address,
        ethRpcUrl: rpcUrls.map(originOf).join(","),
        gatewayAppId,
        chainId: block.chainId,
        appAuthImplementation: appImplementation,
        appImplementation,
        block: blockJson(block),
      };
    },
    parse: (body) => {
      const boot = parseBootInfo(body);
      exactBootInfo(boot);
      return boot;
    },
    decide: async (kind, boot) => {
      if (kind === "app" && (await denied.includes(boot.appId))) {
        return {
          isAllowed: false,
          reason: "app is on the deny list",
          gatewayAppId: "",
          rule: "DENY_LIST_PATH",
          field: "appId",
        };
      }
      const { isAllowed, reason, gatewayAppId, block } = await contract.decide(kind, boot);
      return {
        isAllowed,
        reason,
        gatewayAppId,
        ...(isAllowed ? {} : decidedBy(kind, reason, address, boot.appId)),
        basis: { block: blockJson(block) },
      };
    },
    malformed: () => ({ isAllowed: false, reason: "invalid authorization request", gatewayAppId: "" }),
    failure: () => UNAVAILABLE,
  };
}

/** Numbers as text where JSON cannot hold them. */
const blockJson = ({ chainId, number, hash }: BlockReference): object => ({ chainId, number: Number(number), hash });

interface DecidedBy {
  readonly rule: string;
  readonly field?: "tcbStatus" | "osImageHash" | "mrAggregated" | "deviceId" | "appId" | "composeHash";
}

/**
 * Which call of which contract a reason comes from. A KMS is DstackKms's to judge alone; of an app it passes on what
 * the app's own contract says, whose reasons may be any text and then name no field.
 */
function decidedBy(kind: "app" | "kms", reason: string, kmsAddress: string, appId: string): DecidedBy {
  const kms = `DstackKms ${kmsAddress}`;
  const app = `DstackApp ${appId}`;
  const known: Readonly<Record<string, DecidedBy>> =
    kind === "kms"
      ? {
          "TCB status is not up to date": { rule: `${kms}: isKmsAllowed`, field: "tcbStatus" },
          "OS image is not allowed": { rule: `${kms}: allowedOsImages`, field: "osImageHash" },
          "Aggregated MR not allowed": { rule: `${kms}: kmsAllowedAggregatedMrs`, field: "mrAggregated" },
          "KMS is not allowed to boot on this device": { rule: `${kms}: kmsAllowedDeviceIds`, field: "deviceId" },
        }
      : {
          "App not registered": { rule: `${kms}: registeredApps`, field: "appId" },
          "App is revoked": { rule: `${kms}: revokedApps`, field: "appId" },
          "OS image is not allowed": { rule: `${kms}: allowedOsImages`, field: "osImageHash" },
          "App not deployed or invalid address": { rule: `${kms}: code at the app's address`, field: "appId" },
          "TCB status is not up to date": { rule: `${app}: requireTcbUpToDate`, field: "tcbStatus" },
          "Compose hash not allowed": { rule: `${app}: allowedComposeHashes`, field: "composeHash" },
          "Device not allowed": { rule: `${app}: allowedDeviceIds`, field: "deviceId" },
        };
  return Object.hasOwn(known, reason)
    ? known[reason]!
    : { rule: kind === "kms" ? `${kms}: isKmsAllowed` : `${app}: isAppAllowed` };
}
