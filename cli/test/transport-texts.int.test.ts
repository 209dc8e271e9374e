/** Why a server gave nothing, as those read it who asked: the command line, and the KMS of its webhook and its source. */
import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { errorChain } from "@dstack/errors";
import { webhookClient } from "@dstack/governance";
import { runCli } from "../src/main.ts";
import { captured } from "./captured.ts";
import { serverCertificate } from "../../services/gateway/test/support/pki.ts";
import { refusalOfSource } from "../../services/kms/test/source-refusal.ts";
import { forge, goodScene } from "../../tests/forge/forged-evidence.ts";

const { keyPem: key, certificatePem: cert } = serverCertificate("127.0.0.1");
const forged = forge(goodScene(Math.floor(Date.now() / 1000)));
const servers: Server[] = [];
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "transport-texts-"));
  await writeFile(join(folder, "quote.bin"), forged.quote);
  await writeFile(join(folder, "root.pem"), forged.rootPem);
  await writeFile(join(folder, "ca.pem"), cert);
});
after(async () => {
  for (const server of servers) server.close();
  await rm(folder, { recursive: true });
});

async function at(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const overTls = (answer: RequestListener): Promise<string> => at(createTlsServer({ key, cert }, answer));
const tcp = (onSocket: (socket: Socket) => void): Promise<string> =>
  at(createTcpServer((socket) => onSocket(socket.on("error", () => undefined))));

const CLI: Readonly<Record<string, (url: string) => readonly string[]>> = {
  "verify an app": (url) => ["verify", url, "--cacert", join(folder, "ca.pem")],
  "verify an app by the system's roots": (url) => ["verify", url],
  "verify a KMS": (url) => ["verify", "kms", url],
  "verify a gateway": (url) => ["verify", "gateway", url, "--cacert", join(folder, "ca.pem")],
  "fetch collateral": (url) => {
    const [quote, root] = [join(folder, "quote.bin"), join(folder, "root.pem")];
    return ["collateral", "fetch", quote, "--pccs", url, "--root", root];
  },
};

/** What each of them says, by who asked. */
async function texts(place: string): Promise<Map<string, string>> {
  const url = `https://${place}`;
  const env = { PATH: process.env["PATH"], HOME: folder, XDG_STATE_HOME: folder, XDG_CACHE_HOME: folder };
  const said = new Map<string, string>();
  for (const [who, args] of Object.entries(CLI)) {
    const { code, text } = await captured(() => runCli(args(url), env));
    assert.equal(code, 1, `${who}: ${text}`);
    said.set(who, text);
  }
  const webhook = webhookClient({ url, timeoutMs: 5_000, userAgent: "test", ca: cert });
  said.set("the webhook", errorChain(await webhook.info().catch((error: unknown) => error)));
  said.set("the source", await refusalOfSource(url));
  return said;
}

/** Words of OpenSSL, and of Node to whoever programs with it. */
const RAW = /error:[0-9A-F]{8}|:ssl\/|\.c:\d+|EPROTO|use-system-ca|NODE_|node:internal|\n +at |undefined|\[object/;

const CAUSES: Readonly<Record<string, readonly [place: () => Promise<string>, cause: RegExp]>> = {
  "nobody listens": [async () => "127.0.0.1:1", /ECONNREFUSED/g],
  "the name is unknown": [async () => "nowhere.invalid", /ENOTFOUND|EAI_AGAIN/g],
  "the port speaks no TLS": [() => at(createServer((_, response) => response.end())), /speaks no TLS on that port/g],
  "the connection is reset": [
    () => tcp((socket) => socket.once("data", () => socket.resetAndDestroy())),
    /ECONNRESET/g,
  ],
  "the connection ends in the handshake": [
    () => tcp((socket) => socket.once("data", () => socket.end())),
    /ended the connection during the TLS handshake|ECONNRESET/g,
  ],
};

for (const [what, [place, cause]] of Object.entries(CAUSES))
  test(`where ${what}, everybody says so once and in no words of OpenSSL or Node's advice`, async () => {
    for (const [who, text] of await texts(await place())) {
      assert.doesNotMatch(text, RAW, who);
      assert.equal(text.match(cause)?.length, 1, `${who}: ${text}`);
    }
  });

test("where a server is not found behind its certificate, or answers no JSON, each says what it got, once", async () => {
  for (const [answer, expected] of [
    [((_, response) => response.writeHead(404).end("Not found\n")) as RequestListener, /\b404\b|returned 404/],
    [((_, response) => response.end("<html>")) as RequestListener, /not JSON|not valid JSON|serves no acme-info/],
  ] as const) {
    const said = await texts(await overTls(answer));
    for (const [who, text] of said) assert.doesNotMatch(text, RAW, who);
    for (const who of ["verify an app", "verify a KMS", "verify a gateway", "the webhook"])
      assert.match(said.get(who) ?? "", expected, who);
    for (const who of ["verify an app by the system's roots", "fetch collateral"])
      assert.equal(said.get(who)?.match(/self-signed certificate/g)?.length, 1, `${who}: ${said.get(who)}`);
    assert.match(said.get("the source") ?? "", /could not be called: missing server cert usage/);
  }
});

test("where nothing comes in time, the webhook's client says the time, once", async () => {
  const client = webhookClient({
    url: `https://${await tcp(() => undefined)}`,
    timeoutMs: 100,
    userAgent: "test",
  });
  const text = errorChain(await client.info().catch((error: unknown) => error));
  assert.doesNotMatch(text, RAW);
  assert.equal(text.match(/no answer within 100 ms/g)?.length, 1, text);
});
