import { comparable } from "./file-policy/auth-config.ts";
import type { BootInfo, BootKind } from "./boot-info.ts";

/**
 * The arguments of `dstack auth` that change a denial, from the rule and field that a webhook or a file named, e.g.
 * `allow compose 0x… --app 0x…`. Undefined where no change of an allow-list does it: the platform's state, a
 * deny list, other people's contracts. Pure.
 */
export function commandFor(
  kind: BootKind,
  { rule, field }: { readonly rule: string; readonly field: string },
  boot: BootInfo,
): string | undefined {
  const app = comparable(boot.appId);
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
    default:
      return undefined;
  }
}
