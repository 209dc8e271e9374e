import { comparable, type AuthConfig, type DeviceRule } from "./auth-config.ts";
import type { BootInfo, BootKind, Decision } from "../boot-info.ts";

/** Who may boot. The order of checks and the texts are those that operators and clients know. */
export function decide(config: AuthConfig, kind: BootKind, info: BootInfo): Decision {
  if (!config.allowedTcbStatuses.has(info.tcbStatus))
    return denied("TCB status is not allowed", "allowedTcbStatuses", "tcbStatus");
  if (!info.advisoryIds.every((id) => config.allowedAdvisoryIds.has(id)))
    return denied("advisory ID is not allowed", "allowedAdvisoryIds", "advisoryIds");
  if (!config.osImages.has(comparable(info.osImageHash)))
    return denied("OS image is not allowed", "osImages", "osImageHash");
  return kind === "kms" ? decideKms(config, info) : decideApp(config, info);
}

function decideKms({ kms }: AuthConfig, info: BootInfo): Decision {
  if (kms.mrAggregated !== "any" && !kms.mrAggregated.has(comparable(info.mrAggregated))) {
    return denied("aggregated MR not allowed", "kms.mrAggregated", "mrAggregated");
  }
  if (!admits(kms.devices, info)) return denied("KMS is not allowed to boot on this device", "kms.devices", "deviceId");
  return { isAllowed: true };
}

function decideApp({ apps }: AuthConfig, info: BootInfo): Decision {
  const id = comparable(info.appId);
  const app = apps.get(id);
  if (app === undefined) return denied("app not registered", "apps", "appId");
  if (!app.composeHashes.has(comparable(info.composeHash)))
    return denied("compose hash not allowed", `apps.${id}.composeHashes`, "composeHash");
  if (!admits(app.devices, info))
    return denied("app is not allowed to boot on this device", `apps.${id}.devices`, "deviceId");
  return { isAllowed: true };
}

const admits = (rule: DeviceRule, info: BootInfo): boolean => rule === "any" || rule.has(comparable(info.deviceId));
const denied = (reason: string, rule: string, field: keyof BootInfo): Decision => ({
  isAllowed: false,
  reason,
  rule,
  field,
});
