import { createServer as createTcpServer, isIP } from "node:net";
import { createSocket } from "node:dgram";
import type { vmm } from "@dstack/proto";
import { VmmError } from "../errors.ts";
import type { PortMap } from "../vm/manifest.ts";

export interface PortRules {
  readonly enabled: boolean;
  /** Host address of mappings that name none. */
  readonly address: string;
  readonly range: readonly { readonly protocol: "tcp" | "udp"; readonly from: number; readonly to: number }[];
}

/** @throws VmmError `request-invalid` naming the port */
export function resolvePorts(
  ports: readonly Pick<vmm.PortMapping, "protocol" | "hostPort" | "vmPort" | "hostAddress">[],
  rules: PortRules,
): PortMap[] {
  if (ports.length > 0 && !rules.enabled) throw new VmmError("request-invalid", "Port mapping is disabled");
  const resolved = ports.map(({ protocol, hostPort, vmPort, hostAddress }): PortMap => {
    if (protocol !== "tcp" && protocol !== "udp")
      throw new VmmError("request-invalid", `Invalid protocol: expected tcp or udp, got ${JSON.stringify(protocol)}`);
    if (hostPort < 1 || hostPort > 65_535) throw new VmmError("request-invalid", `Invalid host port: ${hostPort}`);
    if (vmPort < 1 || vmPort > 65_535) throw new VmmError("request-invalid", `Invalid vm port: ${vmPort}`);
    if (!rules.range.some((range) => range.protocol === protocol && range.from <= hostPort && hostPort <= range.to)) {
      throw new VmmError("request-invalid", `Port mapping is not allowed for ${protocol}:${hostPort}`);
    }
    const address = hostAddress === "" ? rules.address : hostAddress;
    if (isIP(address) === 0) throw new VmmError("request-invalid", `Invalid host address: ${JSON.stringify(address)}`);
    return { address, protocol, from: hostPort, to: vmPort };
  });
  for (const [index, mapping] of resolved.entries()) {
    if (resolved.slice(0, index).some((other) => portsConflict(mapping, other))) {
      throw new VmmError("request-invalid", `duplicate host port mapping: ${portText(mapping)}`);
    }
  }
  return resolved;
}

/** Two mappings cannot both be bound: same protocol and port, and the same address or one that means all. */
export function portsConflict(a: PortMap, b: PortMap): boolean {
  return (
    a.protocol === b.protocol &&
    a.from === b.from &&
    (a.address === b.address || isUnspecified(a.address) || isUnspecified(b.address))
  );
}

export const portText = (mapping: PortMap): string => `${mapping.protocol} ${mapping.address}:${mapping.from}`;

/** @throws VmmError `conflict` when a program on this host has the port already */
export async function checkPortsFree(mappings: readonly PortMap[]): Promise<void> {
  for (const mapping of mappings) {
    const reason = await tryBind(mapping);
    if (reason !== undefined)
      throw new VmmError(
        "conflict",
        `host port cannot be used: ${portText(mapping)}: ${reason}; choose another host port`,
      );
  }
}

const isUnspecified = (address: string): boolean => address === "0.0.0.0" || address === "::";

function tryBind({ protocol, address, from }: PortMap): Promise<string | undefined> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      resolve(error.code === "EADDRINUSE" ? "it is in use on this host" : (error.code ?? error.message));
    if (protocol === "tcp") {
      const server = createTcpServer();
      server.once("error", failed);
      server.listen({ host: address, port: from, exclusive: true }, () => server.close(() => resolve(undefined)));
    } else {
      const socket = createSocket({ type: isIP(address) === 6 ? "udp6" : "udp4" });
      socket.once("error", failed);
      socket.bind({ address, port: from, exclusive: true }, () => socket.close(() => resolve(undefined)));
    }
  });
}
