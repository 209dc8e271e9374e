import { readFile } from "node:fs/promises";
import { networkInterfaces, type NetworkInterfaceInfo } from "node:os";
import type { InterfaceInfo, NetworkInfo } from "@dstack/agent";
import { errorChain } from "@dstack/errors";
import { GATEWAY_INTERFACE } from "../system/paths.ts";
import type { RunProgram } from "../system/run-program.ts";

/** What `NetworkInfo` answers. Keys never appear: `wg show` hides private ones. */
export async function readNetworkInfo(run: RunProgram): Promise<NetworkInfo> {
  const names = Object.entries(networkInterfaces()).filter(
    ([name]) => name === GATEWAY_INTERFACE || /^(?:enp|eth|ens)/.test(name),
  );
  return {
    dnsServers: [...(await text("/etc/resolv.conf")).matchAll(/^nameserver\s+(\S+)/gm)].map((match) => match[1] ?? ""),
    gateways: defaultGateways(await text("/proc/net/route")),
    interfaces: await Promise.all(names.map(([name, addresses]) => readInterface(name, addresses ?? []))),
    wgInfo: await run("wg", ["show"], { timeoutMs: 10_000 }).then(
      ({ stdout }) => stdout,
      (error: unknown) => errorChain(error),
    ),
  };
}

async function readInterface(name: string, addresses: readonly NetworkInterfaceInfo[]): Promise<InterfaceInfo> {
  const counter = async (file: string): Promise<bigint> =>
    BigInt((await text(`/sys/class/net/${name}/statistics/${file}`)).trim() || "0");
  return {
    name,
    addresses: addresses.map(({ address, cidr }) => ({ address, prefix: Number(cidr?.split("/")[1] ?? 0) })),
    rxBytes: await counter("rx_bytes"),
    txBytes: await counter("tx_bytes"),
    rxErrors: await counter("rx_errors"),
    txErrors: await counter("tx_errors"),
  };
}

/** Default routes of /proc/net/route, whose addresses are hex in host byte order. */
export function defaultGateways(table: string): { address: string }[] {
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.split("\t"))
    .filter(([, destination, gateway]) => destination === "00000000" && gateway !== undefined && gateway !== "00000000")
    .map(([, , gateway = ""]) => ({
      address: (gateway.match(/../g) ?? [])
        .map((byte) => Number.parseInt(byte, 16))
        .reverse()
        .join("."),
    }));
}

/** Empty where the file cannot be read. */
const text = (path: string): Promise<string> => readFile(path, "utf8").catch(() => "");
