import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { run } from "@dstack/process";

export interface Namespace {
  readonly name: string;
  /** Address of this host on the link to the namespace. */
  readonly hostAddress: string;
  remove(): Promise<void>;
}

/** Why namespaces and tunnels cannot be made here, undefined where they can. */
export async function whyNoNetwork(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "not root";
  if (!existsSync("/dev/net/tun")) return "no /dev/net/tun";
  for (const program of ["ip", "wireguard-go"]) {
    if ((await run("sh", ["-c", `command -v ${program}`], { okCodes: [0, 1, 127] })).code !== 0)
      return `${program} is not installed`;
  }
  return undefined;
}

/** A network namespace linked to this host by a veth pair; `index` (0 to 60) tells several of one test apart. */
export async function makeNamespace(tag: string, index: number): Promise<Namespace> {
  const octet = process.pid % 250;
  const name = `dsgw${tag}${process.pid}-${index}`;
  const veth = `dv${tag}${process.pid % 100_000}${index}`;
  const hostAddress = `198.18.${octet}.${4 * index + 1}`;
  await run("ip", ["netns", "add", name]);
  try {
    await run("ip", ["link", "add", `${veth}h`, "type", "veth", "peer", "name", `${veth}c`, "netns", name]);
    await run("ip", ["address", "add", `${hostAddress}/30`, "dev", `${veth}h`]);
    await run("ip", ["link", "set", `${veth}h`, "up"]);
    await run("ip", ["-n", name, "address", "add", `198.18.${octet}.${4 * index + 2}/30`, "dev", `${veth}c`]);
    await run("ip", ["-n", name, "link", "set", `${veth}c`, "up"]);
    await run("ip", ["-n", name, "link", "set", "lo", "up"]);
    await run("ip", ["-n", name, "route", "add", "default", "via", hostAddress]);
  } catch (error) {
    await run("ip", ["netns", "delete", name], { okCodes: [0, 1] });
    throw error;
  }
  return {
    name,
    hostAddress,
    remove: async () => {
      await run("ip", ["link", "delete", `${veth}h`], { okCodes: [0, 1] });
      await run("ip", ["netns", "delete", name]);
    },
  };
}

/** A TCP port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export const interfaceExists = async (name: string): Promise<boolean> =>
  (await run("ip", ["link", "show", "dev", name], { okCodes: [0, 1] })).code === 0;
