import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { errorChain } from "@dstack/errors";
import { GATEWAY_INTERFACE } from "../gateway/gateway-registration.ts";
import type { RunProgram } from "../system/run-program.ts";

export interface NetworkInfo {
  readonly dnsServers: readonly string[];
  readonly gateways: readonly { readonly address: string }[];
  readonly interfaces: readonly InterfaceInfo[];
  readonly wgInfo: string;
}

interface InterfaceInfo {
  readonly name: string;
  readonly addresses: readonly { readonly address: string; readonly prefix: number }[];
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxErrors: bigint;
  readonly txErrors: bigint;
}

/** What `NetworkInfo` answers. Keys never appear: `wg show` hides private ones. */
export async function readNetworkInfo(run: RunProgram): Promise<NetworkInfo> {
  const text = (path: string): Promise<string> => readFile(path, "utf8").catch(() => "");
  const names = Object.entries(networkInterfaces()).filter(
    ([name]) => name === GATEWAY_INTERFACE || /^(?:enp|eth|ens)/.test(name),
  );
  const interfaces = await Promise.all(
    names.map(async ([name, addresses]): Promise<InterfaceInfo> => {
      const counter = async (file: string): Promise<bigint> =>
        BigInt((await text(`/sys/class/net/${name}/statistics/${file}`)).trim() || "0");
      return {
        name,
        addresses: (addresses ?? []).map(({ address, cidr }) => ({
          address,
          prefix: Number(cidr?.split("/")[1] ?? 0),
        })),
        rxBytes: await counter("rx_bytes"),
        txBytes: await counter("tx_bytes"),
        rxErrors: await counter("rx_errors"),
        txErrors: await counter("tx_errors"),
      };
    }),
  );
  return {
    dnsServers: [...(await text("/etc/resolv.conf")).matchAll(/^nameserver\s+(\S+)/gm)].map((match) => match[1] ?? ""),
    gateways: defaultGateways(await text("/proc/net/route")),
    interfaces,
    wgInfo: await run("wg", ["show"], { timeoutMs: 10_000 }).then(
      ({ stdout }) => stdout,
      (error: unknown) => errorChain(error),
    ),
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
