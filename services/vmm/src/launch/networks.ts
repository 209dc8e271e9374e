import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import type { Networking } from "../config/config-schema.ts";
import { VmmError } from "../errors.ts";
import type { PortMap } from "../vm/manifest.ts";

/** A network as a request names it. */
export interface RequestedNetwork {
  readonly mode: string;
  readonly bridgeName: string;
}

/** @throws VmmError `request-invalid` */
export function resolveNetwork(
  requested: RequestedNetwork,
  node: Networking,
  bridgeExists: (name: string) => boolean = isBridge,
): Networking {
  // "passt" of older clients did what user networking does.
  const mode = requested.mode === "passt" ? "user" : requested.mode;
  if (mode === "")
    throw new VmmError(
      "request-invalid",
      requested.bridgeName === "" ? "networking mode is required" : "networking mode is required when bridge is set",
    );
  if (mode === "custom") throw new VmmError("request-invalid", "custom networking mode is manifest-only");
  if (mode !== "user" && mode !== "bridge")
    throw new VmmError("request-invalid", `unsupported networking mode '${mode}'`);
  if (mode === "user" && requested.bridgeName !== "")
    throw new VmmError("request-invalid", "bridge_name is only valid for bridge networking mode");
  const resolved = { ...node, mode, ...(requested.bridgeName === "" ? {} : { bridge: requested.bridgeName }) };
  if (mode === "bridge") {
    if (resolved.bridge === "")
      throw new VmmError("request-invalid", "bridge networking requested but no bridge is configured");
    if (!/^[A-Za-z0-9_.-]{1,15}$/.test(resolved.bridge) || !bridgeExists(resolved.bridge))
      throw new VmmError("request-invalid", `bridge interface '${resolved.bridge}' does not exist`);
  }
  return resolved;
}

/**
 * The MAC address of one NIC: the prefix, then bytes of SHA-256 over `<vm id>` (first NIC) or
 * `<vm id>:<index>`; made local and unicast.
 */
export function macAddress(vmId: string, index: number, prefix: string): string {
  const hash = createHash("sha256")
    .update(index === 0 ? vmId : `${vmId}:${index}`)
    .digest();
  const fixed = prefix === "" ? [] : prefix.split(":").map((byte) => Number.parseInt(byte, 16));
  const bytes = [...fixed, ...hash.subarray(0, 6 - fixed.length)];
  bytes[0] = ((bytes[0] ?? 0) & 0xfe) | 0x02;
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** The `-netdev` value of each network; port mappings go to the first user network. */
export function netdevs(networks: readonly Networking[], ports: readonly PortMap[]): string[] {
  const first = networks.findIndex((network) => network.mode === "user");
  return networks.map((network, index) => {
    const id = `net${index}`;
    switch (network.mode) {
      case "user": {
        const base = `user,id=${id},net=${network.net},dhcpstart=${network.dhcp_start},restrict=${network.restrict ? "yes" : "no"}`;
        const forwards =
          index === first
            ? ports.map((port) => `,hostfwd=${port.protocol}:${bracketed(port.address)}:${port.from}-:${port.to}`)
            : [];
        return base + forwards.join("");
      }
      case "bridge":
        return `bridge,id=${id},br=${network.bridge}`;
      case "custom":
        if (!network.netdev.split(",").includes(`id=${id}`))
          throw new VmmError("vm-broken", `custom networking: the netdev must contain id=${id}`);
        return network.netdev;
      default:
        throw new VmmError("vm-broken", `unsupported networking mode '${network.mode}'`);
    }
  });
}

/** What the API calls the host side of each mode. */
export const backendOf = (mode: string): string => ({ user: "slirp", bridge: "tap_bridge" })[mode] ?? mode;

const bracketed = (address: string): string => (address.includes(":") ? `[${address}]` : address);

export const isBridge = (name: string): boolean => existsSync(`/sys/class/net/${name}/bridge`);
