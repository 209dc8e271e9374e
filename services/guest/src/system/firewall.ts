import { isIPv6 } from "node:net";
import type { GuestNetwork } from "@dstack/wireguard";
import type { RunProgram } from "./run-program.ts";

const CHAIN = "DSTACK_WG";

/** Lets only the gateways' endpoints reach the WireGuard port. */
export async function setUpFirewall(network: GuestNetwork, run: RunProgram): Promise<void> {
  const hosts = network.device.peers.flatMap(({ endpoint }) => (endpoint === undefined ? [] : [endpoint.host]));
  for (const command of firewallCommands(
    network.device.listenPort,
    hosts.filter((host) => !isIPv6(host)),
  ))
    await run("iptables", command.args, command.mayFail ? { okCodes: [0, 1, 2] } : {});
  if (!hosts.some(isIPv6)) return;
  for (const command of firewallCommands(network.device.listenPort, hosts.filter(isIPv6)))
    await run("ip6tables", command.args, command.mayFail ? { okCodes: [0, 1, 2] } : {});
}

export interface FirewallCommand {
  readonly args: readonly string[];
  /** Fails where the chain or rule is not there yet, or still is. */
  readonly mayFail: boolean;
}

/** The chain is filled before anything jumps to it. */
export function firewallCommands(port: number, hosts: readonly string[]): readonly FirewallCommand[] {
  const jump = ["INPUT", "-p", "udp", "--dport", String(port), "-j", CHAIN];
  const step = (args: readonly string[], mayFail = false): FirewallCommand => ({
    args: ["-w", "10", ...args],
    mayFail,
  });
  return [
    step(["-N", CHAIN], true),
    step(["-F", CHAIN]),
    ...hosts.map((host) => step(["-A", CHAIN, "-s", host, "-j", "ACCEPT"])),
    step(["-A", CHAIN, "-j", "DROP"]),
    step(["-D", ...jump], true),
    step(["-I", ...jump]),
  ];
}
