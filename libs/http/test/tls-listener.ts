import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";

export interface TlsListener {
  readonly port: number;
  readonly servername?: string;
}

/** What a client may and may not agree on with every TLS listener of ours. */
export async function assertTlsSettings(listener: TlsListener): Promise<void> {
  const modern = await agreed(listener, {});
  assert.equal(modern.protocol, "TLSv1.3");
  assert.equal(modern.group, "X25519MLKEM768");
  for (const group of ["X25519", "P-256", "P-384"])
    assert.notEqual((await agreed(listener, { ecdhCurve: group })).group, undefined, group);

  const old = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
  assert.match((await agreed(listener, old)).cipher, /-GCM-|-CHACHA20-/);
  const refused: Readonly<Record<string, ConnectionOptions>> = {
    "TLS 1.1": { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" },
    "CBC suites": { ...old, ciphers: "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA384" },
    "suites without ephemeral keys": { ...old, ciphers: "AES128-GCM-SHA256:AES256-SHA" },
    "P-521": { ecdhCurve: "P-521" },
    X448: { ecdhCurve: "X448" },
    "finite fields": { ecdhCurve: "ffdhe2048:ffdhe3072" },
  };
  for (const [what, options] of Object.entries(refused))
    await assert.rejects(agreed(listener, options), /alert/, `${what} must be refused`);

  assert.equal(await renegotiates(listener, old), false, "a second handshake on one connection must be refused");
}

async function connected({ port, servername }: TlsListener, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port,
    ...(servername === undefined ? {} : { servername }),
    rejectUnauthorized: false,
    ...options,
  });
  await once(socket, "secureConnect");
  socket.on("error", () => undefined);
  return socket;
}

async function agreed(listener: TlsListener, options: ConnectionOptions) {
  const socket = await connected(listener, options);
  const agreement = {
    protocol: socket.getProtocol(),
    cipher: socket.getCipher().name,
    group: (socket.getEphemeralKeyInfo() as { readonly name?: string } | null)?.name,
  };
  socket.destroy();
  return agreement;
}

async function renegotiates(listener: TlsListener, options: ConnectionOptions): Promise<boolean> {
  const socket = await connected(listener, options);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once("close", () => resolve(false));
  socket.once("error", () => resolve(false));
  socket.renegotiate({ rejectUnauthorized: false }, (error) => resolve(error === null));
  const done = await promise;
  socket.destroy();
  return done;
}
