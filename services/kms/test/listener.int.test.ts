import assert from "node:assert/strict";
import { request } from "node:https";
import { connect } from "node:tls";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { create, fromBinary, toBinary, type DescMethodUnary } from "@bufbuild/protobuf";
import { parseHex } from "@dstack/bytes";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { kms as proto, prpc } from "@dstack/proto";
import { createCa, createLeaf, createTempClientCertificate } from "@dstack/ratls";
import { assertTlsSettings } from "../../../libs/http/test/tls-listener.ts";
import { Harness } from "./harness.ts";

let harness: Harness;
before(async () => {
  harness = await Harness.create();
  await harness.start({ "core.admin.enabled": "true", "core.admin.port": "0", "core.admin.auth_token": '"s3cret"' });
});
after(() => harness.close());

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly csp: unknown;
  readonly id: string | undefined;
  readonly body: Buffer;
}

function ask(
  path: string,
  options: { readonly accept?: string; readonly body?: Uint8Array; readonly tls?: object } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `https://127.0.0.1:${harness.kms.server.port}${path}`,
      {
        method: options.body === undefined ? "GET" : "POST",
        rejectUnauthorized: false,
        agent: false,
        ...options.tls,
        ...(options.accept === undefined ? {} : { headers: { accept: options.accept } }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode,
            type: response.headers["content-type"],
            csp: response.headers["content-security-policy"],
            id: response.headers["x-request-id"]?.toString(),
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(options.body);
  });
}

test("every answer has the id of its request, and log and audit log name the same (PC #506)", async () => {
  const ids = new Set<string>();
  for (const path of [
    "/health",
    "/nothing",
    "/prpc/GetMeta?json",
    "/prpc/Nothing?json",
    "/prpc/GetAppKey?json",
    "/prpc/GetKmsKey",
  ]) {
    const { id } = await ask(path);
    assert.match(id ?? "", /^[0-9a-f-]{36}$/, path);
    ids.add(id ?? "");
  }
  assert.equal(ids.size, 6);
  const { id } = await ask("/prpc/GetAppKey?json");
  const line = (await harness.auditLines()).find(({ requestId }) => requestId === id);
  assert.equal(line?.["outcome"], "refused");
  assert.ok(harness.sink.text.includes(id ?? "no id"));
});

test("GET / names the service, its version and its links: a page for browsers, data for others", async () => {
  const data = await ask("/", { accept: "*/*" });
  const report = JSON.parse(data.body.toString()) as {
    name: string;
    version: string;
    links: Record<string, string>;
    insecure_settings: string[];
  };
  assert.deepEqual(
    [data.status, data.type, report.name, report.version],
    [200, "application/json", "dstack-kms", "0.6.0"],
  );
  assert.ok(report.insecure_settings.includes("core.attest_rpc_cert = false"));
  for (const path of Object.values(report.links)) assert.equal((await ask(path)).status, 200, path);

  const page = await ask("/", { accept: "text/html,application/xhtml+xml,*/*;q=0.8" });
  assert.deepEqual([page.status, page.type], [200, "text/html; charset=utf-8"]);
  assert.match(String(page.csp), /default-src 'none'/);
  const html = page.body.toString();
  for (const part of [
    "dstack-kms",
    "0.6.0",
    "development",
    "core.attest_rpc_cert = false",
    ...Object.values(report.links),
  ])
    assert.ok(html.includes(part), part);
  assert.doesNotMatch(html, /<script|https?:\/\//);
});

test("/openapi.json describes what the listener serves, and the administration's is behind its credentials", async () => {
  const document = JSON.parse((await ask("/openapi.json")).body.toString()) as {
    paths: Record<string, { post?: { "x-dstack-auth": string } }>;
  };
  for (const { name } of Object.values(proto.KMS.method))
    assert.ok(document.paths[`/prpc/${name}`]?.post !== undefined, name);
  assert.equal(document.paths["/prpc/GetKmsKey"]?.post?.["x-dstack-auth"], "attested");
  for (const path of ["/", "/health", "/healthz", "/readyz", "/metrics", "/openapi.json"])
    assert.ok(path in document.paths, path);
  const admin = `http://${harness.kms.admin!.address}/openapi.json`;
  assert.equal((await fetch(admin)).status, 401);
  const described = (await (await fetch(admin, { headers: { "x-admin-token": "s3cret" } })).json()) as {
    paths: object;
  };
  assert.deepEqual(Object.keys(described.paths), ["/prpc/ClearImageCache", "/backup", "/openapi.json"]);
});

test("every method of the listener answers protobuf in protobuf, with and without its prefix", async () => {
  const requests: Readonly<Record<string, Record<string, unknown>>> = {
    GetAppEnvEncryptPubKey: { appId: parseHex("11".repeat(20)) },
  };
  const open = ["GetAppEnvEncryptPubKey", "GetMeta", "GetTempCaCert"];
  for (const method of Object.values(proto.KMS.method) as unknown as DescMethodUnary[]) {
    for (const prefix of ["", "KMS.", "KMS.KMS."]) {
      const { status, type, body } = await ask(`/prpc/${prefix}${method.name}`, {
        body: toBinary(method.input, create(method.input, requests[method.name] ?? {})),
      });
      assert.equal(type, "application/octet-stream", method.name);
      assert.equal(status, open.includes(method.name) ? 200 : 400, method.name);
      if (status === 200) assert.ok(toBinary(method.output, fromBinary(method.output, body)).length > 0);
      else
        assert.match(
          fromBinary(prpc.PrpcErrorSchema, body).message,
          ["GetAppKey", "GetKmsKey"].includes(method.name) ? /No attestation provided$/ : /./,
          method.name,
        );
    }
  }
});

test("a client certificate of any issuer, expired or not yet valid, never ends the handshake, and proves nothing (#561)", async () => {
  const now = Math.floor(Date.now() / 1000);
  const issuer = createCa({ commonName: "anybody", key: generateP256(), pathLength: 0, now });
  for (const dates of [
    {},
    { notBefore: now - 200, notAfter: now - 100 },
    { notBefore: now + 1_000, notAfter: now + 2_000 },
  ]) {
    const key = generateP256();
    const tls = {
      cert: createLeaf({ commonName: "x", issuer, publicPoint: key.publicPoint, now, ...dates }).pem,
      key: pkcs8Pem(key),
    };
    assert.equal((await ask("/prpc/GetMeta", { tls })).status, 200);
    const refused = await ask("/prpc/GetAppKey?json", { tls, body: Buffer.from('{"api_version":1}') });
    const { error } = JSON.parse(refused.body.toString()) as { readonly error: string };
    assert.deepEqual([refused.status, error], [400, "App not allowed: No attestation provided"]);
  }
});

test("a resumed TLS session is still the caller of its evidence", async () => {
  const guest = harness.guest();
  const { tempCa } = await harness.tempCa();
  const certificate = createTempClientCertificate({
    tempCa,
    key: guest.key,
    attestation: guest.attestation,
    now: Math.floor(Date.now() / 1000),
  });
  const body = JSON.stringify({ api_version: 1, vm_config: guest.vmConfig });
  const call = async (
    maxVersion: "TLSv1.2" | "TLSv1.3",
    session?: Buffer,
  ): Promise<{ readonly resumed: boolean; readonly text: string; readonly session: Buffer }> => {
    const socket = connect({
      host: "127.0.0.1",
      port: harness.kms.server.port,
      rejectUnauthorized: false,
      maxVersion,
      cert: certificate.pem,
      key: pkcs8Pem(guest.key),
      ...(session === undefined ? {} : { session }),
    });
    let issued = session;
    socket.on("session", (value: Buffer) => (issued = value));
    await once(socket, "secureConnect");
    socket.write(
      `POST /prpc/GetAppKey?json HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    const resumed = socket.isSessionReused();
    let text = "";
    for await (const chunk of socket) text += (chunk as Buffer).toString();
    return { resumed, text, session: issued! };
  };
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const first = await call(version);
    assert.match(first.text, /^HTTP\/1\.1 200/, version);
    const second = await call(version, first.session);
    assert.match(second.text, /^HTTP\/1\.1 200/, `${version}, resumed: ${second.resumed}`);
  }
});

test("the server shows its leaf alone", async () => {
  const socket = connect({ host: "127.0.0.1", port: harness.kms.server.port, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const peer = socket.getPeerCertificate(true);
  assert.ok(peer.issuerCertificate === undefined || peer.issuerCertificate === null);
  socket.destroy();
});

test("agrees with clients on TLS settings of today alone, and on no second handshake", () =>
  assertTlsSettings({ port: harness.kms.server.port }));
