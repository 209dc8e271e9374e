import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { toHex, type AppId } from "@dstack/bytes";
import { generateWireGuardKeys } from "@dstack/wireguard";
import type { CvmOrders, CvmReady } from "./cvm.ts";
import { freePort, makeNamespace, type Namespace } from "./network.ts";
import { randomId, serverCertificate, testKms, type Identity, type TestKms } from "./pki.ts";

export const DOMAIN = "apps.test";
export const ADMIN_TOKEN = "lab-admin-token";

export interface Lab {
  readonly folder: string;
  readonly kms: TestKms;
  readonly gatewayAppId: AppId;
  readonly interface: string;
  readonly rpcUrl: string;
  readonly proxyPort: number;
  readonly adminPort: number;
  /** CA of the proxy's wildcard certificate. */
  readonly wildcardCa: () => string;
  readonly newWildcard: () => Promise<void>;
  readonly startGateway: () => Promise<GatewayProcess>;
  readonly startCvm: (identity: Identity, openPorts?: readonly number[]) => Promise<Cvm>;
  close(): Promise<void>;
}

export interface GatewayProcess {
  readonly child: ChildProcess;
  readonly lines: string[];
  readonly stop: (signal: NodeJS.Signals) => Promise<number | null>;
}

export interface Cvm extends CvmReady {
  readonly server: Identity & { readonly caPem: string };
  stop(): Promise<void>;
}

/** A gateway's configuration, a KMS's certificates and a namespace for CVMs. */
export async function makeLab(tag: string): Promise<Lab> {
  const folder = await mkdtemp(join(tmpdir(), `dstack-gateway-${tag}-`));
  const namespaces = [await makeNamespace(tag, 0)];
  const { hostAddress } = namespaces[0] as Namespace;
  const kms = testKms();
  const gatewayAppId = randomId();
  const [rpcPort, proxyPort, adminPort, wgPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const name = `dsg${tag}${process.pid % 100_000}`;
  const running: ChildProcess[] = [];
  let wildcard = serverCertificate(`*.${DOMAIN}`);
  let cvms = 0;

  const newWildcard = async (): Promise<void> => {
    wildcard = serverCertificate(`*.${DOMAIN}`);
    await writeFile(join(folder, "wildcard.pem"), wildcard.certificatePem);
    await writeFile(join(folder, "wildcard.key"), wildcard.keyPem);
  };
  await newWildcard();
  const rpc = kms.gateway(gatewayAppId, [hostAddress]);
  await writeFile(join(folder, "rpc.cert"), rpc.certificatePem);
  await writeFile(join(folder, "rpc.key"), rpc.keyPem);
  await writeFile(join(folder, "ca.cert"), kms.root.pem);
  await writeFile(
    join(folder, "gateway.toml"),
    `address = "${hostAddress}:${rpcPort}"
log_level = "debug"
[tls]
key = "${folder}/rpc.key"
certs = "${folder}/rpc.cert"
[tls.mutual]
ca_certs = "${folder}/ca.cert"
[core]
state_path = "${folder}/no-such-file.json"
[core.debug]
insecure_skip_attestation = true
[core.admin]
enabled = true
address = "127.0.0.1:${adminPort}"
auth_token = "${ADMIN_TOKEN}"
[core.wg]
private_key = "${generateWireGuardKeys().privateKey}"
listen_port = ${wgPort}
interface = "${name}"
ip = "10.213.${process.pid % 250}.1/24"
reserved_net = ["10.213.${process.pid % 250}.1/32"]
client_ip_range = "10.213.${process.pid % 250}.0/25"
endpoint = "${hostAddress}:${wgPort}"
config_path = "${folder}/wg.conf"
[core.proxy]
listen_addr = "127.0.0.1"
listen_port = ${proxyPort}
external_port = ${proxyPort}
base_domain = "${DOMAIN}"
cert_chain = "${folder}/wildcard.pem"
cert_key = "${folder}/wildcard.key"
tls_versions = ["1.2", "1.3"]
[core.proxy.timeouts]
connect = "2s"
handshake = "2s"
[core.sync]
node_id = 7
my_url = "https://gateway.test:9303"
`,
  );

  const startGateway = async (): Promise<GatewayProcess> => {
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL("../../src/main.ts", import.meta.url)), "-c", join(folder, "gateway.toml")],
      { stdio: ["ignore", "ignore", "pipe"], cwd: folder },
    );
    running.push(child);
    const lines: string[] = [];
    const up = Promise.withResolvers<void>();
    createInterface(child.stderr as NodeJS.ReadableStream).on("line", (line) => {
      lines.push(line);
      if (line.includes("tcp bridge listening")) up.resolve();
    });
    child.once("exit", (code) => up.reject(new Error(`gateway ended with ${code}:\n${lines.slice(-20).join("\n")}`)));
    await up.promise;
    return {
      child,
      lines,
      stop: async (signal) => {
        if (child.exitCode === null && child.signalCode === null) {
          const exited = once(child, "exit");
          child.kill(signal);
          await exited;
        }
        return child.exitCode;
      },
    };
  };

  const startCvm = async (identity: Identity, openPorts?: readonly number[]): Promise<Cvm> => {
    const server = serverCertificate("inside.test");
    const index = cvms++;
    const namespace = namespaces[index] ?? (await makeNamespace(tag, index));
    namespaces[index] = namespace;
    const orders: CvmOrders = {
      interface: `dsc${tag}${process.pid % 100_000}${index}`.slice(0, 15),
      gatewayUrl: `https://${hostAddress}:${rpcPort}`,
      gatewayAppId: toHex(gatewayAppId),
      rootPem: kms.root.pem,
      identity,
      server,
      ...(openPorts === undefined ? {} : { openPorts }),
    };
    const child = spawn(
      "ip",
      ["netns", "exec", namespace.name, process.execPath, fileURLToPath(new URL("./cvm.ts", import.meta.url))],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    running.push(child);
    child.stdin.write(`${JSON.stringify(orders)}\n`);
    const ready = Promise.withResolvers<CvmReady>();
    createInterface(child.stdout).once("line", (line) => ready.resolve(JSON.parse(line) as CvmReady));
    child.once("exit", (code) => ready.reject(new Error(`CVM ended with ${code}`)));
    return {
      ...(await ready.promise),
      server,
      stop: async () => {
        const exited = once(child, "exit");
        child.stdin.end();
        await exited;
      },
    };
  };

  return {
    folder,
    kms,
    gatewayAppId,
    interface: name,
    rpcUrl: `https://${hostAddress}:${rpcPort}`,
    proxyPort,
    adminPort,
    wildcardCa: () => wildcard.caPem,
    newWildcard,
    startGateway,
    startCvm,
    close: async () => {
      for (const child of running) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const exited = once(child, "exit");
        // A CVM ends with its input, a gateway by the signal.
        child.stdin?.end();
        if (child.stdin === null) child.kill("SIGTERM");
        await exited;
      }
      for (const namespace of namespaces) await namespace.remove();
      await rm(folder, { recursive: true });
    },
  };
}
