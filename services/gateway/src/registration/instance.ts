import type { Ipv4, WireGuardKey } from "@dstack/wireguard";
import type { PortPolicy } from "./port-policy.ts";

/** One registered CVM. Ids and hashes are lower-case hex. */
export interface Instance {
  readonly instanceId: string;
  readonly appId: string;
  readonly address: Ipv4;
  readonly publicKey: WireGuardKey;
  readonly composeHash: string;
  /** Unix seconds at which the present key was registered first. */
  readonly registeredAt: number;
  /** What the CVM reported or was asked for; undefined while nothing is known. */
  readonly portPolicy: PortPolicy | undefined;
}
