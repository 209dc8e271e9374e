import { parseBootInfo } from "@dstack/governance";
import { exactBootInfo, KmsContract, originOf, type BlockReference } from "@dstack/governance/chain";
import type { WebhookBackend } from "@dstack/governance/webhook";
import type { DenyList } from "./deny-list.ts";

/** What clients are told of every failure; the log has the cause. */
const UNAVAILABLE = "authorization backend unavailable";

/** Decides by a DstackKms contract and the contracts of the apps registered there. */
export function chainBackend(contract: KmsContract, rpcUrls: readonly string[], denied: DenyList): WebhookBackend {
  return {
    info: async () => {
      const { gatewayAppId, appImplementation, block } = await contract.info();
      return {
        kmsContractAddr: contract.address,
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
        ...(isAllowed ? {} : decidedBy(kind, reason, contract.address, boot.appId)),
        basis: { block: blockJson(block) },
      };
    },
    malformed: () => ({ isAllowed: false, reason: "invalid authorization request", gatewayAppId: "" }),
    failure: () => UNAVAILABLE,
  };
}

/** Numbers as text where JSON cannot hold them. */
const blockJson = ({ chainId, number, hash }: BlockReference): object => ({ chainId, number: Number(number), hash });

/** Which call of which contract a reason comes from. Reasons of other people's app contracts name no field. */
function decidedBy(
  kind: "app" | "kms",
  reason: string,
  kms: string,
  appId: string,
): { rule: string; field?: "tcbStatus" | "osImageHash" | "mrAggregated" | "deviceId" | "appId" | "composeHash" } {
  const app = `DstackApp ${appId}`;
  const known = {
    "TCB status is not up to date": {
      rule: kind === "kms" ? `DstackKms ${kms}: isKmsAllowed` : `${app}: requireTcbUpToDate`,
      field: "tcbStatus",
    },
    "OS image is not allowed": { rule: `DstackKms ${kms}: allowedOsImages`, field: "osImageHash" },
    "Aggregated MR not allowed": { rule: `DstackKms ${kms}: kmsAllowedAggregatedMrs`, field: "mrAggregated" },
    "KMS is not allowed to boot on this device": { rule: `DstackKms ${kms}: kmsAllowedDeviceIds`, field: "deviceId" },
    "App not registered": { rule: `DstackKms ${kms}: registeredApps`, field: "appId" },
    "App is revoked": { rule: `DstackKms ${kms}: revokedApps`, field: "appId" },
    "App not deployed or invalid address": { rule: `DstackKms ${kms}: code at the app's address`, field: "appId" },
    "Compose hash not allowed": { rule: `${app}: allowedComposeHashes`, field: "composeHash" },
    "Device not allowed": { rule: `${app}: allowedDeviceIds`, field: "deviceId" },
  } as const;
  return Object.hasOwn(known, reason) ? known[reason as keyof typeof known] : { rule: `${app}: isAppAllowed` };
}
