import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createSecureContext } from "node:tls";
import { serverCertificate } from "../../../services/gateway/test/support/pki.ts";
import type { Daemon, Listener } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { message, type Message } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const JSON_BODY = { "content-type": "application/json" };

/** The guest agent's sockets and its public listener; its upstreams are the TEE and a KMS. */
export async function agent(): Promise<Daemon> {
  const { folder, remove } = await temporaryFolder("agent");
  const honest = createServer((_request, response) => response.end("ok")).listen(0, "127.0.0.1");
  await once(honest, "listening");
  const tee = await NastyUpstream.start({
    backend: { host: "127.0.0.1", port: (honest.address() as AddressInfo).port },
  });
  const { keyPem: key, certificatePem: cert } = serverCertificate("127.0.0.1");
  const kms = await NastyUpstream.start({ tls: createSecureContext({ key, cert }) });
  const process = await startProcess({
    main: "tests/chaos/agent-process.ts",
    args: [folder, tee.url, kms.url],
    cwd: folder,
    listeners: 3,
  });
  const listeners = process.listeners.map((told): Listener =>
    listenerOf(told, {
      name: told.address,
      reach: told.address.startsWith("/") ? "token" : "stranger",
      seeds: {
        // The newer one signs with keys that it knows by name.
        "/Sign": () => call("/Sign", { algorithm: "ed25519", data: "c0ffee" }),
      },
      probe: told.address.startsWith("/") ? call("/Version", {}) : call("/prpc/Worker.Version", {}),
    }),
  );
  const app = listeners.find(({ name }) => name.endsWith("/dstack.sock"))!;
  const open = listeners.find(({ reach }) => reach === "stranger")!;
  return {
    name: "agent",
    process,
    listeners,
    deep: [
      {
        name: "a quote for the app",
        place: app.place,
        reach: "token",
        make: () => call("/GetQuote", { report_data: "c0ffee" }),
        upstreams: [tee],
        honest: /"quote":"0400/,
      },
      {
        name: "a certificate for the app",
        place: app.place,
        reach: "token",
        make: () => call("/GetTlsKey", { subject: "chaos", alt_names: [], usage_server_auth: true }),
        upstreams: [kms],
      },
      {
        name: "evidence for a stranger",
        place: open.place,
        reach: "stranger",
        make: () => message("GET", "/evidence?nonce=00112233445566778899aabbccddeeff"),
        upstreams: [tee],
        honest: /HTTP\/1\.1 (200|400)/,
      },
    ],
    upstreams: [tee, kms],
    close: async () => {
      await tee.close();
      await kms.close();
      honest.close();
      await remove();
    },
  };
}

const call = (path: string, body: object): Message => message("POST", path, JSON.stringify(body), JSON_BODY);
