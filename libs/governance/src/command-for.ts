import { comparable } from "./file-policy/auth-config.ts";
import type { BootInfo, BootKind } from "./boot-info.ts";

/**
 * The arguments of `dstack auth` that change a denial, from the rule and field that a webhook or a file named, e.g.
 * `allow compose 0x… --app 0x…`. Undefined where no change of an allow-list does it: a
 * revoked platform, a deny list, other people's contracts. Pure.
 */
export function commandFor(
  kind: BootKind,
  { rule, field }: { readonly rule: string; readonly field: string },
  boot: BootInfo,
): string | undefined {
  const app = comparable(boot.appId);
  const hashes = [boot.osImageHash, boot.mrAggregated, boot.composeHash, boot.deviceId, boot.appId].map(comparable);
  if (!hashes.every((hash) => /^0x\w{0,256}$/.test(hash))) return undefined;
  switch (field) {
    case "osImageHash":
      return `allow os-image ${comparable(boot.osImageHash)}`;
    case "mrAggregated":
      return `allow kms ${comparable(boot.mrAggregated)}`;
    case "composeHash":
      return `allow compose ${comparable(boot.composeHash)} --app ${app}`;
    case "deviceId":
      return `allow device ${comparable(boot.deviceId)} ${kind === "kms" ? "--kms" : `--app ${app}`}`;
    case "appId":
      // A contract without code cannot be helped, nor what a deny list shuts out.
      return rule === "apps" || /: (registeredApps|revokedApps)$/.test(rule) ? `allow app ${app}` : undefined;
    case "tcbStatus":
      // A contract has a switch for each app; a KMS's own contract takes no other status, nor does anybody a revoked one.
      if (rule.endsWith("requireTcbUpToDate")) return `require-tcb ${app} off`;
      return rule === "allowedTcbStatuses" && boot.tcbStatus !== "Revoked" && isPlain(boot.tcbStatus)
        ? `allow status ${boot.tcbStatus}`
        : undefined;
    case "advisoryIds":
      return rule === "allowedAdvisoryIds" && boot.advisoryIds.length > 0 && boot.advisoryIds.every(isPlain)
        ? `allow advisory ${boot.advisoryIds.join(",")}`
        : undefined;
    default:
      return undefined;
  }
}

/** People copy this into a shell, and the names are a request's. */
const isPlain = (text: string): boolean => /^[A-Za-z0-9][\w.-]{0,63}$/.test(text);
