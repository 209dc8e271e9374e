/**
 * What a guest does, in its own network namespace: registers, brings its tunnel up and serves on
 * it. Reads one JSON line of orders, prints one JSON line when ready, ends with its standard input.
 */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createServer as createH2Server } from "node:http2";
import { createServer as createTcpServer } from "node:net";
import { createInterface } from "node:readline";
import { createServer as createTlsServer } from "node:tls";
import { appId, parseHex } from "@dstack/bytes";
import { gateway } from "@dstack/proto";
import { attestedTransport } from "@dstack/ratls";
import { callRpc } from "@dstack/rpc";
import { formatIpv4, generateWireGuardKeys, guestNetwork, openWireGuard } from "@dstack/wireguard";
import type { Identity } from "./pki.ts";

export interface CvmOrders {
  readonly interface: string;
  readonly gatewayUrl: string;
  readonly gatewayAppId: string;
  readonly rootPem: string;
  readonly identity: Identity;
  readonly openPorts?: readonly number[];
  readonly server: Identity;
}

export interface CvmReady {
  readonly address: string;
  readonly domain: string;
  readonly externalPort: number;
  readonly agentPort: number;
}

const lines = createInterface(process.stdin);
const orders = JSON.parse(await new Promise<string>((resolve) => lines.once("line", resolve))) as CvmOrders;
const keys = generateWireGuardKeys();
const transport = attestedTransport({
  baseUrl: `${orders.gatewayUrl}/prpc`,
  trustedRoots: [orders.rootPem],
  peer: { kind: "app", appId: appId(parseHex(orders.gatewayAppId)) },
  identity: orders.identity,
});
const answer = await callRpc(transport, gateway.Gateway.method.registerCvm, {
  clientPublicKey: keys.publicKey,
  ...(orders.openPorts === undefined
    ? {}
    : { portPolicy: { restrictMode: true, ports: orders.openPorts.map((port) => ({ port, pp: port === 8081 })) } }),
});
if (answer.wg === undefined || answer.agent === undefined) throw new Error("Missing wg info");
const network = guestNetwork(keys.privateKey, answer.wg);
const device = await openWireGuard({
  name: orders.interface,
  address: { address: network.address, prefix: 32 },
  routes: network.routes,
});
await device.apply({ ...network.device, listenPort: 0 });

const http = createServer((request, response) => response.end(`http ${request.headers.host} ${request.url}`));
http.listen(80);
// Reports what came before the end of the client's half, and only then ends its own.
const digesting = createTcpServer({ allowHalfOpen: true }, (socket) => {
  const hash = createHash("sha256");
  socket.on("data", (chunk) => hash.update(chunk));
  socket.on("end", () => socket.end(hash.digest("hex")));
});
digesting.listen(8080);
const echoing = createTcpServer((socket) => socket.pipe(socket));
echoing.listen(8081);
const h2 = createH2Server((_request, response) => response.end("h2"));
h2.listen(8082);
const tls = createTlsServer({ key: orders.server.keyPem, cert: orders.server.certificatePem }, (socket) =>
  socket.end("from inside"),
);
tls.listen(443);
const sink = createTcpServer(() => undefined);
sink.listen(8083);
const agent = createServer((_request, response) => {
  const compose = JSON.stringify({ port_policy: { restrict_mode: true, ports: [{ port: 80 }] } });
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ tcb_info: JSON.stringify({ app_compose: compose }) }));
});
agent.listen(8090);

const ready: CvmReady = {
  address: formatIpv4(network.address),
  domain: answer.agent.domain,
  externalPort: answer.agent.externalPort,
  agentPort: answer.agent.internalPort,
};
process.stdout.write(`${JSON.stringify(ready)}\n`);
await new Promise((resolve) => lines.once("close", resolve));
await device.close();
process.exit(0);
