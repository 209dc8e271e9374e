/** Network devices by iproute2. Every name is checked before it becomes an argument. */
import { ProcessError, run } from "@dstack/process";
import { WireGuardError } from "./errors.ts";
import { formatNetwork, type Ipv4Network } from "./ipv4.ts";

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/;
const TIMEOUT_MS = 10_000;

/**
 * 1 to 15 characters that Linux and wireguard-go both take as a device name, and that no program takes as an option.
 * @throws WireGuardError `interface-invalid`
 */
export function checkInterfaceName(name: string): string {
  if (!NAME.test(name)) {
    throw new WireGuardError(
      "interface-invalid",
      `interface name "${name.slice(0, 40)}": expected 1 to 15 letters, digits, dots, dashes or underscores, ` +
        "not starting with a dot or dash",
    );
  }
  return name;
}

/** What kind of device has this name (`wireguard`, `tun`, ...; `""` for a plain one), undefined when there is none. */
export async function linkKind(name: string): Promise<string | undefined> {
  try {
    const { stdout } = await run("ip", ["-j", "-d", "link", "show", "dev", name], { timeoutMs: TIMEOUT_MS });
    const links = JSON.parse(stdout) as readonly { readonly linkinfo?: { readonly info_kind?: string } }[];
    return links[0]?.linkinfo?.info_kind ?? "";
  } catch (cause) {
    if (cause instanceof ProcessError && cause.code === "failed" && /does not exist/.test(cause.stderr))
      return undefined;
    throw new WireGuardError("interface-failed", `interface ${name} cannot be looked up: ${text(cause)}`, { cause });
  }
}

/** Makes a kernel WireGuard device; false when this kernel has none. */
export async function addKernelLink(name: string): Promise<boolean> {
  try {
    await run("ip", ["link", "add", "dev", name, "type", "wireguard"], { timeoutMs: TIMEOUT_MS });
    return true;
  } catch (cause) {
    if (
      cause instanceof ProcessError &&
      cause.code === "failed" &&
      /Unknown device type|not supported/i.test(cause.stderr)
    )
      return false;
    throw new WireGuardError(
      "interface-failed",
      `WireGuard interface ${name} cannot be made: ${text(cause)}. It needs root or CAP_NET_ADMIN`,
      { cause },
    );
  }
}

/** Gives the device its address, MTU and routes and brings it up. */
export async function configureLink(
  name: string,
  address: Ipv4Network,
  routes: readonly Ipv4Network[],
  mtu: number,
): Promise<void> {
  try {
    await run("ip", ["address", "replace", formatNetwork(address), "dev", name], { timeoutMs: TIMEOUT_MS });
    await run("ip", ["link", "set", "dev", name, "mtu", String(mtu), "up"], { timeoutMs: TIMEOUT_MS });
    for (const route of routes)
      await run("ip", ["route", "replace", formatNetwork(route), "dev", name], { timeoutMs: TIMEOUT_MS });
  } catch (cause) {
    throw new WireGuardError(
      "interface-failed",
      `interface ${name} cannot be given ${formatNetwork(address)}: ${text(cause)}`,
      { cause },
    );
  }
}

/** Removes the device; that there is none is fine. */
export async function deleteLink(name: string): Promise<void> {
  try {
    await run("ip", ["link", "delete", "dev", name], { timeoutMs: TIMEOUT_MS });
  } catch (cause) {
    if (
      cause instanceof ProcessError &&
      cause.code === "failed" &&
      /Cannot find device|does not exist/.test(cause.stderr)
    )
      return;
    throw new WireGuardError("interface-failed", `interface ${name} cannot be removed: ${text(cause)}`, { cause });
  }
}

const text = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
