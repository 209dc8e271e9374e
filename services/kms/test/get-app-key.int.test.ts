import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Agent, request } from "node:https";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { appId, instanceId, parseHex, publicKey32, toHex } from "@dstack/bytes";
import { reportDataFor, type RuntimeEvent } from "@dstack/attest";
import {
  appK256Key,
  appKeySigner,
  checkEnvPublicKeyFrom,
  diskCryptKey,
  envCryptKey,
  generateP256,
  p256FromPem,
  pkcs8Pem,
  secp256k1PublicKey,
  spkiDer,
} from "@dstack/keys";
import { createCa, createLeaf, createTempClientCertificate } from "@dstack/ratls";
import { mockPki, parseSeed } from "@dstack/tee-simulator";
import { VERSION_TEXT } from "@dstack/proto/wire";
import { APP_ID, COMPOSE_HASH, DEVICE_ID, Harness, INSTANCE_ID } from "./harness.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

let harness: Harness;
before(async () => {
  harness = await Harness.create();
  await harness.start();
});
after(() => harness.close());

interface Reply {
  readonly status: number;
  readonly json: Record<string, unknown>;
}

/** One request with whatever client certificate, no checks. */
function post(
  method: string,
  body: string,
  identity: { readonly cert?: string; readonly key?: string } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${harness.baseUrl}/${method}?json`,
      { method: "POST", rejectUnauthorized: false, agent: new Agent(), ...identity },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            json: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>,
          }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

test("releases the derived keys to verified evidence, with an audit line before them", async () => {
  const guest = harness.guest();
  const answer = await harness.getAppKey(guest);
  const root = p256FromPem(await readFile(join(harness.folder, "keys/root-ca.key"), "utf8"));
  const rootK256 = new Uint8Array(await readFile(join(harness.folder, "keys/root-k256.key")));
  const app = appId(parseHex(APP_ID));
  assert.equal(toHex(answer.diskCryptKey), toHex(diskCryptKey(root.scalar, app, instanceId(parseHex(INSTANCE_ID)))));
  assert.equal(toHex(answer.envCryptKey), toHex(envCryptKey(root.scalar, app)));
  assert.equal(toHex(answer.k256Key), toHex(appK256Key(rootK256, app)));
  assert.equal(
    toHex(appKeySigner(app, secp256k1PublicKey(answer.k256Key), answer.k256Signature)),
    toHex(secp256k1PublicKey(rootK256)),
  );
  assert.equal(answer.gatewayAppId, "9a".repeat(20));
  assert.equal(answer.tproxyAppId, answer.gatewayAppId);
  assert.equal(toHex(answer.osImageHash), harness.image.hash);
  const line = (await harness.auditLines()).at(-1)!;
  assert.equal(line["outcome"], "released");
  for (const [key, value] of Object.entries({
    appId: APP_ID,
    composeHash: COMPOSE_HASH,
    deviceId: DEVICE_ID,
    osImageHash: harness.image.hash,
    tcbStatus: "UpToDate",
    trustAnchor: "external",
  }))
    assert.equal(line[key], value, key);
  for (const secret of [answer.diskCryptKey, answer.envCryptKey, answer.k256Key, root.scalar, rootK256]) {
    assert.ok(!harness.sink.text.includes(toHex(secret)), "a key is in the log");
    assert.ok(!JSON.stringify(await harness.auditLines()).includes(toHex(secret)), "a key is in the audit log");
  }
});

test("the image is downloaded once and kept", async () => {
  await harness.getAppKey(harness.guest({ vmConfig: { cpu_count: 4 } }));
  assert.equal(harness.imageRequests, 1);
  assert.deepEqual((await readdir(join(harness.folder, "cache/images", harness.image.hash))).toSorted(), [
    "bzImage",
    "initramfs.cpio.gz",
    "metadata.json",
    "ovmf.fd",
    "sha256sum.txt",
  ]);
  assert.deepEqual(await readdir(join(harness.folder, "cache/images/tmp")), []);
});

test("a changed byte of the compose file is refused, and caller, log and audit line say by what", async () => {
  const other = `c1${COMPOSE_HASH.slice(2)}`;
  const text = await harness.refusalOf(harness.guest({ composeHash: other }));
  assert.equal(
    text,
    `App not allowed: Boot denied: compose hash not allowed (rule apps.0x${APP_ID}.composeHashes, field composeHash)`,
  );
  const line = (await harness.auditLines()).at(-1)!;
  assert.deepEqual([line["outcome"], line["field"], line["composeHash"]], ["refused", "composeHash", other]);
  assert.match(harness.sink.text, new RegExp(`"field":"composeHash".*${other}`));
});

test("an app, image or device that is not listed is refused (DS #1247)", async () => {
  assert.match(
    await harness.refusalOf(harness.guest({ appId: "b2".repeat(20) })),
    /App not allowed: Boot denied: app not registered/,
  );
  await harness.allow({ devices: [] });
  assert.match(await harness.refusalOf(harness.guest()), /app is not allowed to boot on this device/);
  await harness.allow({ osImages: [] });
  assert.match(await harness.refusalOf(harness.guest()), /OS image is not allowed/);
  await harness.allow({});
  assert.equal(await harness.refusalOf(harness.guest()), "released");
});

test("a swapped initrd is refused, naming RTMR2", async () => {
  const initrd = Uint8Array.from(harness.image.files.initrd);
  initrd[7]! ^= 1;
  const text = await harness.refusalOf(harness.guest({ files: { ...harness.image.files, initrd } }));
  assert.match(text, /^App not allowed: Failed to verify os image hash: MRs do not match: RTMR2 does not match/);
  assert.ok(!/(MRTD|RTMR[01]) does not match/.test(text), text);
  const line = (await harness.auditLines()).at(-1)!;
  assert.deepEqual([line["outcome"], line["rule"], line["field"]], ["refused", "os-image", "RTMR2"]);
});

test("other firmware, another machine or another command line is refused by register", async () => {
  const { files } = harness.image;
  const firmware = Uint8Array.from(files.firmware);
  firmware[0x85000]! ^= 1;
  assert.match(await harness.refusalOf(harness.guest({ files: { ...files, firmware } })), /MRTD does not match/);
  const guest = harness.guest({ vmConfig: { cpu_count: 2 } });
  assert.match(
    await harness.refusalOf(guest, guest.vmConfig.replace('"cpu_count":2', '"cpu_count":3')),
    /RTMR0 does not match/,
  );
  assert.match(
    await harness.refusalOf(harness.guest({ files: { ...files, cmdline: `${files.cmdline} rw` } })),
    /RTMR2 does not match/,
  );
});

test("refuses a debug TD, a foreign root, changed events and evidence for another key", async () => {
  assert.match(
    await harness.refusalOf(harness.guest({ editQuote: (quote) => (quote[48 + 120]! |= 1) })),
    /^invalid quote: /,
  );
  assert.match(
    await harness.refusalOf(harness.guest({ pki: mockPki(parseSeed("ab".repeat(32))) })),
    /^invalid quote: /,
  );
  const honest = harness.guest();
  const [first, ...rest] = honest.attestation.runtimeEvents;
  const lying = {
    ...honest,
    attestation: {
      ...honest.attestation,
      runtimeEvents: [
        first!,
        ...rest.map((event) => (event.event === "app-id" ? { ...event, payload: parseHex("b3".repeat(20)) } : event)),
      ],
    },
  };
  assert.match(await harness.refusalOf(lying), /^invalid quote: rtmr3-replay: RTMR3 mismatch/);
  assert.match(
    await harness.refusalOf(harness.guest({ reportData: reportDataFor("ratls-cert", spkiDer(generateP256())) })),
    /^invalid quote: report-data/,
  );
  const line = (await harness.auditLines()).at(-1)!;
  assert.deepEqual([line["outcome"], line["rule"], line["field"]], ["refused", "evidence", "quote"]);
});

test("of refused evidence log and audit line have an excerpt, however long its texts are", async () => {
  const long = "x".repeat(60_000);
  const event = (name: string): RuntimeEvent => ({ event: name, payload: new Uint8Array() });
  const said = harness.sink.text.length;
  const honest = harness.guest();
  for (const [guest, vmConfig] of [
    [harness.guest({ events: [event(long)] }), honest.vmConfig],
    [harness.guest({ reportData: reportDataFor("ratls-cert", spkiDer(generateP256())) }), long],
    [honest, JSON.stringify({ [long]: 1, os_image_hash: long })],
    [honest, long],
  ] as const) {
    assert.notEqual(await harness.refusalOf(guest, vmConfig), "released");
    const line = (await harness.auditLines()).at(-1)!;
    assert.equal(line["outcome"], "refused");
    assert.ok(String(line["reason"]).length <= 512, String(line["reason"]).slice(0, 1_000));
  }
  const lines = harness.sink.text.slice(said).split("\n");
  assert.ok(lines.some((line) => line.includes('"refused"')));
  for (const line of lines) assert.ok(line.length < 2_048, line.slice(0, 1_000));
});

test("evidence that does not hold is refused for every method", async () => {
  const guest = harness.guest({ pki: mockPki(parseSeed("ab".repeat(32))) });
  const { tempCa } = await harness.tempCa();
  const mine = createTempClientCertificate({
    tempCa,
    key: guest.key,
    attestation: guest.attestation,
    now: Math.floor(Date.now() / 1000),
  });
  for (const method of ["GetMeta", "GetTempCaCert", "GetAppEnvEncryptPubKey"]) {
    const { status, json } = await post(method, "{}", { cert: mine.pem, key: pkcs8Pem(guest.key) });
    assert.equal(status, 400);
    assert.match(String(json["error"]), /^invalid quote: /);
  }
});

test("identity comes from evidence alone: the public temporary key signs nobody in (#561, #619)", async () => {
  const { status, json } = await post("GetAppKey", '{"api_version":1}');
  assert.deepEqual([status, json["error"]], [400, "App not allowed: No attestation provided"]);
  assert.match(String(json["request_id"]), /^[0-9a-f-]{36}$/);
  const { tempCa } = await harness.tempCa();
  const key = generateP256();
  const plain = createLeaf({
    commonName: "RA-TLS TEMP Cert",
    issuer: tempCa,
    publicPoint: key.publicPoint,
    appId: appId(parseHex(APP_ID)),
    usage: "kms:rpc",
    now: Math.floor(Date.now() / 1000),
  });
  assert.equal(
    (await post("GetAppKey", "{}", { cert: plain.pem, key: pkcs8Pem(key) })).json["error"],
    "App not allowed: No attestation provided",
  );
});

test("a guest's certificate may come from any issuer, as long as its evidence holds", async () => {
  const guest = harness.guest();
  const stranger = createCa({
    commonName: "self",
    key: generateP256(),
    pathLength: 0,
    now: 0,
    notAfter: 1_000_000_000,
  });
  const mine = createTempClientCertificate({
    tempCa: stranger,
    key: guest.key,
    attestation: guest.attestation,
    now: 0,
  });
  const { status } = await post("GetAppKey", JSON.stringify({ api_version: 1, vm_config: guest.vmConfig }), {
    cert: mine.pem,
    key: pkcs8Pem(guest.key),
  });
  assert.equal(status, 200);
});

test("every route but the open ones refuses a caller without evidence, and the set-up is not here", async () => {
  for (const method of ["Bootstrap", "Onboard", "Finish", "Nope", "KMS.KMS.Nope"]) {
    const { status, json } = await post(method, "{}");
    assert.deepEqual([status, json["error"]], [400, `Service not found: ${method.replaceAll("KMS.", "")}`]);
  }
  assert.match(
    String((await post("ClearImageCache", '{"token":"","image_hash":"all"}')).json["error"]),
    /Invalid token/,
  );
  assert.match(String((await post("SignCert", '{"api_version":2}')).json["error"]), /^Failed to parse csr/);
  assert.equal(
    (await post("GetAppKey", '{"api_version":1}')).json["error"],
    "App not allowed: No attestation provided",
  );
  assert.equal((await post("GetKmsKey", "{}")).json["error"], "No attestation provided");
});

interface HttpVector {
  readonly id: string;
  readonly request: { readonly method: string; readonly path: string; readonly body?: string; readonly json?: unknown };
  readonly expect: {
    readonly status: number;
    readonly content_type?: string;
    readonly json?: unknown;
    readonly json_key?: string;
    readonly json_keys?: readonly string[];
    readonly body_hex?: string;
  };
}
/** Errors of ours name their request besides. */
const REQUEST_ID = /,\n  "request_id": "[0-9a-f-]{36}"/;

vectorTest("answers the requests of the vectors byte for byte", "kms/prpc-vectors.json", async ({ json }) => {
  const { http } = json<{ readonly http: readonly HttpVector[] }>("kms/prpc-vectors.json");
  for (const { id, request: wanted, expect } of http) {
    const { status, type, body } = await new Promise<{
      status: number | undefined;
      type: string | undefined;
      body: Buffer;
    }>((resolve, reject) => {
      const outgoing = request(
        `https://127.0.0.1:${harness.kms.server.port}${wanted.path}`,
        { method: wanted.method, rejectUnauthorized: false },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () =>
            resolve({
              status: response.statusCode,
              type: response.headers["content-type"],
              body: Buffer.concat(chunks),
            }),
          );
        },
      );
      outgoing.on("error", reject);
      outgoing.end(wanted.body ?? (wanted.json === undefined ? "" : JSON.stringify(wanted.json)));
    });
    assert.equal(status, expect.status, id);
    if (expect.content_type !== undefined) assert.equal(type, expect.content_type, id);
    if (expect.body_hex !== undefined) assert.equal(body.toString("hex"), expect.body_hex, id);
    if (expect.json !== undefined)
      assert.equal(body.toString().replace(REQUEST_ID, ""), JSON.stringify(expect.json, null, 2), id);
    for (const key of [...(expect.json_keys ?? []), ...(expect.json_key === undefined ? [] : [expect.json_key])])
      assert.ok(key in (JSON.parse(body.toString()) as object), `${id} ${key}`);
  }
});

test("bodies above 10 MB and absurd vm_config texts are refused, and the service goes on", async () => {
  assert.deepEqual(
    await post("GetAppKey", `{"vm_config":"${"x".repeat(10 * 1024 * 1024)}"}`)
      .catch(() => ({ status: 400, json: { error: "closed" } }))
      .then(({ status }) => status),
    400,
  );
  const guest = harness.guest();
  assert.match(await harness.refusalOf(guest, " ".repeat(300 * 1024)), /vm_config: at most/);
  assert.match(await harness.refusalOf(guest, "not json"), /vm_config: not valid JSON/);
  assert.match(await harness.refusalOf(guest, '{"os_image_hash":"12"}'), /os_image_hash is not 64 hex digits/);
  assert.match(await harness.refusalOf(guest, "{}"), /Boot denied: OS image is not allowed/);
  assert.equal(await harness.refusalOf(guest), "released");
});

test("a file of the image cache that was changed is never measured", async () => {
  const path = join(harness.folder, "cache/images", harness.image.hash, "initramfs.cpio.gz");
  await writeFile(path, "evil");
  const before = harness.imageRequests;
  assert.equal(await harness.refusalOf(harness.guest({ vmConfig: { cpu_count: 8 } })), "released");
  assert.equal(harness.imageRequests, before + 1);
  assert.ok((await stat(path)).size > 4);
});

test("GetMeta, status, metrics and log show the development environment and its insecure settings", async () => {
  const { json } = await post("GetMeta", "{}");
  assert.deepEqual(
    [json["environment"], json["is_dev"], json["chain_id"], json["gateway_app_id"]],
    ["development", false, 0, "9a".repeat(20)],
  );
  assert.deepEqual(json["checks"], [
    { name: "kms-attestation", result: "not applicable", reason: "KMS outside a TEE" },
  ]);
  assert.match(String((json["bootstrap_info"] as Record<string, unknown>)["ca_pubkey"]), /^3059/);
  const get = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      request(`https://127.0.0.1:${harness.kms.server.port}${path}`, { rejectUnauthorized: false }, (response) => {
        let text = "";
        assert.equal(response.headers["x-app-version"], VERSION_TEXT);
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve(`${response.statusCode} ${text}`));
      })
        .on("error", reject)
        .end();
    });
  assert.match(await get("/"), /"environment": "development"/);
  const metrics = await get("/metrics");
  assert.match(metrics, /dstack_kms_environment_info\{environment="development"\} 1/);
  assert.match(metrics, /dstack_kms_attestation_requests_total [1-9]/);
  assert.match(metrics, /dstack_kms_attestation_failures_total [1-9]/);
  assert.match(metrics, /dstack_kms_platforms_seen\{fmspc="000000000000",status="UpToDate"\} 1/);
  for (const document of ["tcb_info", "qe_identity", "pck_crl", "root_ca_crl"])
    assert.match(metrics, new RegExp(`dstack_kms_collateral_left_days\\{document="${document}"\\} [1-9]`));
  assert.match(metrics, /setting="core.attest_rpc_cert = false"/);
  assert.match(await get("/readyz"), /^200 \{"ready":true/);
  const lines = (await readFile(join(harness.folder, "keys/audit.jsonl"), "utf8")).trimEnd().split("\n");
  const [seq, hash] = [lines.length, createHash("sha256").update(lines.at(-1)!).digest("hex")];
  assert.ok((await get("/readyz")).endsWith(`"audit":{"seq":${seq},"hash":"${hash}"}}`), "the head of the audit log");
  const { length } = metrics.match(/^dstack_kms_audit_head_info\{/gm) ?? [];
  assert.deepEqual([length, metrics.includes(`dstack_kms_audit_head_info{hash="${hash}"} 1`)], [1, true]);
  assert.match(metrics, new RegExp(`^dstack_kms_audit_records ${seq}$`, "m"));
  assert.equal(await get("/health"), "200 OK");
  assert.match(await get("/healthz"), /^200/);
  assert.match(harness.sink.text, /insecure settings are in force/);
});

test("GetAppEnvEncryptPubKey takes ids of 20 bytes only, and signs for them (#554)", async () => {
  for (const length of [0, 19, 21, 32])
    assert.equal(
      (await post("GetAppEnvEncryptPubKey", JSON.stringify({ app_id: "11".repeat(length) }))).json["error"],
      "app_id must be 20 bytes",
    );
  const { json } = await post("GetAppEnvEncryptPubKey", JSON.stringify({ app_id: APP_ID }));
  const meta = await post("GetMeta", "{}");
  const trusted = [parseHex(String(meta.json["k256_pubkey"]))];
  const claim = { appId: appId(parseHex(APP_ID)), publicKey: publicKey32(parseHex(String(json["public_key"]))) };
  const timestamp = BigInt(String(json["timestamp"]));
  assert.equal(
    checkEnvPublicKeyFrom(
      trusted,
      { ...claim, signature: parseHex(String(json["signature_v1"])), timestamp },
      { now: timestamp },
    ).kind,
    "signed",
  );
  assert.equal(
    checkEnvPublicKeyFrom(
      trusted,
      { ...claim, signature: parseHex(String(json["signature"])), timestamp: undefined },
      { now: timestamp },
    ).kind,
    "signed",
  );
});

test("an auth server that is down is no denial, and no key leaves", async () => {
  await harness.stopAuth();
  const text = await harness.refusalOf(harness.guest());
  assert.match(text, /^App not allowed: auth api http:\/\/127\.0\.0\.1:\d+\/… could not be asked/);
  assert.doesNotMatch(text, /denied:/);
  // Information about the auth server is kept for a second, so that anonymous calls do not pass through.
  let meta = "";
  for (let i = 0; i < 200 && !meta.includes("could not be asked"); i++) {
    meta = JSON.stringify((await post("GetMeta", "{}")).json);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.match(meta, /could not be asked/);
});
