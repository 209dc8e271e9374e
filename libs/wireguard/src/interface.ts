import { spawn, type ChildProcess } from "node:child_process";
import { unlink } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { terminate } from "@dstack/process";
import { kernelDevice, uapiDevice, type Device } from "./device.ts";
import { WireGuardError } from "./errors.ts";
import type { Ipv4Network } from "./ipv4.ts";
import { addKernelLink, checkInterfaceName, configureLink, deleteLink, linkKind } from "./link.ts";
import type { PeerState } from "./peer-state.ts";
import { DEFAULT_MTU, type DeviceConfig } from "./render.ts";
import { uapiExchange } from "./uapi.ts";

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

const SOCKET_FOLDER = "/var/run/wireguard";
const START_TIMEOUT_MS = 10_000;

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
  const socketPath = `${SOCKET_FOLDER}/${name}.sock`;
  // Its own process group: Ctrl-C on a terminal must reach it only through us.
  const child = spawn("wireguard-go", ["-f", name], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
    env: { PATH: process.env["PATH"], LOG_LEVEL: "error" },
  });
  let ended: string | undefined;
  let closing = false;
  let tail = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    tail = (tail + chunk.toString()).slice(-2_000);
  });
  child.once("error", (error: NodeJS.ErrnoException) => {
    ended =
      error.code === "ENOENT"
        ? "it is not installed (Debian package wireguard-go), and this kernel has no WireGuard"
        : error.message;
  });
  child.once("exit", (code, signal) => {
    ended ??= `it ended with ${signal ?? `code ${code}`}: ${tail.trim()}`;
    if (!closing)
      options.onLost?.(new WireGuardError("interface-failed", `wireguard-go for ${name} ended by itself: ${ended}`));
  });
  const close = async (): Promise<void> => {
    closing = true;
    if (child.pid !== undefined && ended === undefined) await terminate(child.pid);
    await deleteLink(name);
    await unlink(socketPath).catch(ignoreMissing);
  };
  try {
    await answering(socketPath, () => ended);
    await configureLink(name, options.address, options.routes ?? [], options.mtu ?? DEFAULT_MTU);
  } catch (error) {
    await close();
    throw error;
  }
  unreference(child);
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
      `interface ${name} exists and is ${kind === "" ? "a plain device" : `of kind ${kind}`}, not ours; choose another name or remove it with: ip link delete ${name}`,
    );
  }
  await deleteLink(name);
  const socketPath = `${SOCKET_FOLDER}/${name}.sock`;
  const deadline = Date.now() + 3_000;
  while (Date.now() < deadline && (await responds(socketPath))) await sleep(50);
  await unlink(socketPath).catch(ignoreMissing);
}

async function answering(socketPath: string, ended: () => string | undefined): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const why = ended();
    if (why !== undefined) throw new WireGuardError("interface-failed", `wireguard-go could not be started: ${why}`);
    if (await responds(socketPath)) return;
    if (Date.now() > deadline)
      throw new WireGuardError(
        "interface-failed",
        `wireguard-go did not answer at ${socketPath} within ${START_TIMEOUT_MS} ms`,
      );
    await sleep(20);
  }
}

async function responds(socketPath: string): Promise<boolean> {
  try {
    await uapiExchange(socketPath, "get=1\n", 1_000);
    return true;
  } catch {
    return false; // Not there, not yet or no longer: the caller asks again until its deadline.
  }
}

function unreference(child: ChildProcess): void {
  child.unref();
  (child.stderr as unknown as { unref?: () => void } | null)?.unref?.();
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
