import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { kernelDevice, uapiDevice, type Device } from "./device.ts";
import { WireGuardError } from "./errors.ts";
import type { Ipv4Network } from "./ipv4.ts";
import { addKernelLink, checkInterfaceName, configureLink, deleteLink, linkKind } from "./link.ts";
import type { PeerState } from "./peer-state.ts";
import { DEFAULT_MTU, type DeviceConfig } from "./render.ts";
import { responds, startWireGuardGo, userspaceSocket } from "./wireguard-go.ts";

export interface WireGuardInterface {
  readonly name: string;
  readonly backend: "kernel" | "userspace";
  /** Makes key, port and peers exactly these; peers that stay keep their sessions. */
  apply(config: DeviceConfig): Promise<void>;
  /** The device's view of its peers, traffic and handshakes included. */
  peers(): Promise<PeerState[]>;
  /** Removes the device and ends what drives it. */
  close(): Promise<void>;
}

export interface OpenOptions {
  /** At most 15 characters. A WireGuard or tun device of this name is ours from an earlier run and is replaced. */
  readonly name: string;
  /** Own address; its prefix makes the route to the peers. */
  readonly address: Ipv4Network;
  /** Networks behind the peers that the address's own prefix does not cover. */
  readonly routes?: readonly Ipv4Network[];
  readonly mtu?: number;
  /** `auto` takes the kernel's WireGuard and falls back to wireguard-go. */
  readonly backend?: "auto" | "kernel" | "userspace";
  /** Called once when the userspace program ends by itself: the device is gone then. */
  readonly onLost?: (error: WireGuardError) => void;
}

/**
 * Makes a device with its address and brings it up, without key and peers. What a killed run
 * left under the same name is removed first; a device of another kind is left alone and refused.
 * @throws WireGuardError
 */
export async function openWireGuard(options: OpenOptions): Promise<WireGuardInterface> {
  const name = checkInterfaceName(options.name);
  await removeStale(name);
  const backend = options.backend ?? "auto";
  if (backend !== "userspace" && (await addKernelLink(name))) return openKernel(name, options);
  if (backend === "kernel")
    throw new WireGuardError(
      "interface-failed",
      "this kernel has no WireGuard; load the module wireguard, or allow the userspace program",
    );
  return await openUserspace(name, options);
}

async function openKernel(name: string, options: OpenOptions): Promise<WireGuardInterface> {
  try {
    await configureLink(name, options.address, options.routes ?? [], options.mtu ?? DEFAULT_MTU);
  } catch (error) {
    await deleteLink(name);
    throw error;
  }
  return opened(name, "kernel", kernelDevice(name), () => deleteLink(name));
}

async function openUserspace(name: string, options: OpenOptions): Promise<WireGuardInterface> {
  const socketPath = userspaceSocket(name);
  const program = startWireGuardGo(name, options.onLost);
  const close = async (): Promise<void> => {
    await program.stop();
    await deleteLink(name);
    await rm(socketPath, { force: true });
  };
  try {
    await program.answering();
    await configureLink(name, options.address, options.routes ?? [], options.mtu ?? DEFAULT_MTU);
  } catch (error) {
    await close();
    throw error;
  }
  program.unref();
  return opened(name, "userspace", uapiDevice(socketPath), close);
}

function opened(
  name: string,
  backend: WireGuardInterface["backend"],
  device: Device,
  close: () => Promise<void>,
): WireGuardInterface {
  return { name, backend, apply: (config) => device.apply(config), peers: () => device.peers(), close };
}

/** Deleting the tun device ends the wireguard-go that a killed run left behind. */
async function removeStale(name: string): Promise<void> {
  const kind = await linkKind(name);
  if (kind === undefined) return;
  if (kind !== "wireguard" && kind !== "tun") {
    throw new WireGuardError(
      "interface-failed",
      `interface ${name} exists and is ${kind === "" ? "a plain device" : `of kind ${kind}`}, not ours; ` +
        `choose another name or remove it with: ip link delete ${name}`,
    );
  }
  await deleteLink(name);
  const socketPath = userspaceSocket(name);
  const deadline = Date.now() + 3_000;
  while (Date.now() < deadline && (await responds(socketPath))) await sleep(50);
  await rm(socketPath, { force: true });
}
