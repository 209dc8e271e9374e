import { isIP } from "node:net";
import { parseSize, SIZE_GRAMMARS } from "@dstack/bytes";
import { asRefusal } from "@dstack/errors";
import { CliError } from "./errors.ts";

export interface PortArgument {
  readonly protocol: "tcp" | "udp";
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly vmPort: number;
}

/**
 * `[tcp:|udp:][address:]host:vm`, as the reference's command line takes it.
 * @throws CliError `usage`
 */
export function parsePort(text: string): PortArgument {
  const parts = text.split(":");
  const protocol = parts[0] === "tcp" || parts[0] === "udp" ? (parts.shift() as "tcp" | "udp") : "tcp";
  const vmPort = port(parts.pop());
  const hostPort = port(parts.pop());
  const hostAddress = parts.join(":").replace(/^\[|\]$/g, "");
  if (vmPort === undefined || hostPort === undefined || (hostAddress !== "" && isIP(hostAddress) === 0)) {
    throw new CliError(
      "usage",
      `port mapping "${text}": expected [tcp:|udp:][address:]hostport:vmport, for example 8080:80`,
    );
  }
  return { protocol, hostAddress, hostPort, vmPort };
}

function port(text: string | undefined): number | undefined {
  const value = Number(text);
  return text !== undefined && /^\d{1,5}$/.test(text) && value > 0 && value < 65_536 ? value : undefined;
}

/**
 * Memory in MiB or disk in GiB: a number in that unit, or with M, G or T (an optional B after it).
 * @throws CliError `usage` when it does not come out whole
 */
export function parseAmount(text: string, unit: "M" | "G", what: string): number {
  const [grammar, bytesOfUnit] = unit === "M" ? [SIZE_GRAMMARS.memory, 1024n ** 2n] : [SIZE_GRAMMARS.disk, 1024n ** 3n];
  const refusal = (cause?: Error): CliError =>
    new CliError("usage", `${what} "${text}": expected for example ${unit === "M" ? "2048 or 2G" : "10 or 10G"}`, {
      cause,
    });
  const bytes = asRefusal(() => parseSize(text, grammar), refusal);
  if (bytes === 0n || bytes % bytesOfUnit !== 0n) throw refusal();
  return Number(bytes / bytesOfUnit);
}
