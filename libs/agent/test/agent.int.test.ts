import assert from "node:assert/strict";
import { evidenceReportData } from "@dstack/attest";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readlink, rm, stat } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { appKeySigner, recoverSigner } from "@dstack/keys";
import { appId, parseHex, toHex, utf8 } from "@dstack/bytes";
import { readDstackExtensions } from "@dstack/ratls";
import { VERSION_TEXT } from "@dstack/proto/wire";
import { buildAppInfo } from "../src/app-info.ts";
import { deriveAppKey } from "../src/derive-app-key.ts";
import { createAgent, listen, type Listeners } from "../src/index.ts";
import { appKeyStatement } from "../src/services/worker-service.ts";
import { recordedPorts, type RecordedAgent } from "./fixture.ts";
import { vectorSets } from "../../../tests/vectors/vector-sets.ts";

interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly text: string;
}

for (const set of vectorSets("guest/simulator-0.6")) {
  describe(`agent (${set.name})`, () => {
    let folder: string;
    let ports: RecordedAgent;
    let listeners: Listeners;
    let port: number;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "dstack-agent-"));
      ports = recordedPorts({}, set);
      listeners = await listen(createAgent(ports), { folder, publicListen: { host: "127.0.0.1", port: 0 } });
      port = listeners.publicPort;
    });
    after(async () => {
      await listeners.close();
      await rm(folder, { recursive: true, force: true });
    });

    const ask = (target: { socketPath: string } | { port: number }, path: string, body?: unknown): Promise<Answer> =>
      new Promise((resolve, reject) => {
        const outgoing = request(
          {
            ...target,
            host: "127.0.0.1",
            path,
            method: body === undefined ? "GET" : "POST",
            headers: body === undefined ? {} : { "content-type": "application/json" },
            agent: false,
          },
          (response) => {
            let text = "";
            response.on("data", (chunk: Buffer) => (text += chunk.toString()));
            response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
          },
        );
        outgoing.on("error", reject);
        outgoing.end(body === undefined ? undefined : JSON.stringify(body));
      });
    const app = (path: string, body?: unknown): Promise<Answer> =>
      ask({ socketPath: join(folder, "dstack.sock") }, path, body);
    const json = async (answer: Promise<Answer>): Promise<Record<string, unknown>> => {
      const { status, text } = await answer;
      assert.equal(status, 200, text);
      return JSON.parse(text) as Record<string, unknown>;
    };

    it("opens both sockets to every user of a container and links them where newer clients look", async () => {
      for (const name of ["dstack.sock", "tappd.sock"]) {
        assert.equal((await stat(join(folder, name))).mode & 0o777, 0o777);
        assert.equal(await readlink(join(folder, "dstack", name)), `../${name}`);
      }
    });

    it("derives keys with the bytes and signatures of the vectors, whose chain leads to the KMS root", async () => {
      const vectors = set.json<{
        app_id: string;
        app_pubkey: string;
        kms_pubkey: string;
        get_key: {
          path: string;
          purpose: string;
          algorithm: string;
          key: string;
          pubkey: string;
          signature_chain: string[];
        }[];
      }>("guest/getkey-simulator-0.6.json");
      for (const row of vectors.get_key) {
        const answer = await json(app("/GetKey", { path: row.path, purpose: row.purpose, algorithm: row.algorithm }));
        assert.equal(answer["key"], row.key);
        assert.deepEqual(answer["signature_chain"], row.signature_chain);
        const signer = recoverSigner(utf8(`${row.purpose}:${row.pubkey}`), parseHex(row.signature_chain[0] ?? ""));
        assert.equal(toHex(signer), vectors.app_pubkey);
        assert.equal(
          toHex(appKeySigner(appId(parseHex(vectors.app_id)), signer, parseHex(row.signature_chain[1] ?? ""))),
          vectors.kms_pubkey,
        );
      }
      assert.match((await app("/GetKey", { algorithm: "rsa" })).text, /Unsupported algorithm/);
    });

    it("answers without chunks, and null for an empty answer: old clients read nothing else", async () => {
      const answer = await app("/EmitEvent", { event: "my-event", payload: "00ff" });
      assert.equal(answer.text, "null");
      assert.equal(answer.headers["content-length"], "4");
      assert.equal(answer.headers["transfer-encoding"], undefined);
    });

    it("refuses events under names of the boot, and names with a colon (V2 event log rows)", async () => {
      const count = ports.tee.events.length;
      for (const event of [
        "app-id",
        "compose-hash",
        "system-ready",
        "os-image-hash",
        "key-provider",
        "a:b",
        "",
        "x".repeat(129),
        "a\nb",
      ]) {
        const answer = await app("/EmitEvent", { event, payload: "" });
        assert.equal(answer.status, 400, event);
      }
      assert.equal((await app("/EmitEvent", { event: "big", payload: "00".repeat(65_537) })).status, 400);
      assert.equal(ports.tee.events.length, count);
    });

    it("gives a quote over padded report data, with a log that replays", async () => {
      const answer = await json(app("/GetQuote", { report_data: "0x0102" }));
      assert.equal(answer["report_data"], `0102${"00".repeat(62)}`);
      const log = JSON.parse(String(answer["event_log"])) as { imr: number; digest: string }[];
      assert.ok(log.filter((event) => event.imr === 3).every((event) => event.digest.length === 96));
      assert.equal(answer["attestation"], undefined);
      assert.match((await app("/GetQuote", { report_data: "00".repeat(65) })).text, /Report data is too long/);
      assert.match(String((await json(app("/Attest", { report_data: "" })))["attestation"]), /^00/);
    });

    it("makes a new TLS key at each call, with evidence bound to it where asked for", async () => {
      const one = await json(
        app("/GetTlsKey", {
          subject: "me",
          alt_names: ["localhost", "127.0.0.1"],
          usage_ra_tls: true,
          usage_server_auth: true,
        }),
      );
      const two = await json(app("/GetTlsKey", { subject: "me" }));
      assert.notEqual(one["key"], two["key"]);
      assert.match(String(one["key"]), /^-----BEGIN PRIVATE KEY-----\n/);
      const leaf = new X509Certificate((one["certificate_chain"] as string[])[0] ?? "");
      assert.match(leaf.subjectAltName ?? "", /DNS:localhost, IP Address:127\.0\.0\.1/);
      assert.ok(leaf.verify(new X509Certificate(ports.caCertificatePem).publicKey));
      assert.ok(readDstackExtensions(new Uint8Array(leaf.raw)).attestation !== undefined);
    });

    it("refuses certificate dates that no certificate can carry, and goes on (DS #1232)", async () => {
      const answer = await ask(
        { socketPath: join(folder, "dstack.sock") },
        "/GetTlsKey?subject=a&not_after=18446744073709551615",
      );
      assert.equal(answer.status, 400);
      assert.match(answer.text, /after the year 9999/);
      assert.match(
        (await app("/GetTlsKey", { not_before: 20, not_after: 10 })).text,
        /not_before must be earlier than not_after/,
      );
      assert.equal((await app("/Version", {})).status, 200);
    });

    it("tells who it is as the recorded guest did", async () => {
      const expected = set.json<{
        field_order: string[];
        response: Record<string, string>;
        tcb_info_parsed: Record<string, unknown>;
      }>("guest/info-simulator-0.6.json");
      const info = await buildAppInfo(createAgent(recordedPorts({}, set)), "internal");
      assert.equal(toHex(info.appId), expected.response["app_id"]);
      assert.equal(toHex(info.instanceId), expected.response["instance_id"]);
      assert.equal(toHex(info.deviceId), expected.response["device_id"]);
      assert.equal(toHex(info.mrAggregated), expected.response["mr_aggregated"]);
      assert.equal(info.keyProviderInfo, expected.response["key_provider_info"]);
      const tcb = JSON.parse(info.tcbInfo) as Record<string, unknown>;
      assert.deepEqual(Object.keys(tcb), Object.keys(tcb).toSorted());
      for (const name of ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "app_compose", "event_log"])
        assert.deepEqual(tcb[name], expected.tcb_info_parsed[name], name);
      assert.deepEqual(Object.keys(await json(app("/Info", {}))), expected.field_order);
    });

    it("serves the legacy methods on both sockets", async () => {
      const vectors = set.json<{ derive_key: { path: string; pem?: string }[] }>("guest/derivekey-simulator-0.6.json");
      const key = await json(
        ask({ socketPath: join(folder, "tappd.sock") }, "/prpc/Tappd.DeriveKey", {
          path: vectors.derive_key[0]?.path,
          subject: "s",
        }),
      );
      if (vectors.derive_key[0]?.pem !== undefined) assert.equal(key["key"], vectors.derive_key[0].pem);
      for (const row of set.json<
        {
          content_utf8?: string;
          content_hex?: string;
          prefix_request: string;
          hash_algorithm: string;
          report_data?: string;
        }[]
      >("guest/tdx-quote-report-data.json")) {
        if (row.content_utf8 === undefined || row.report_data === undefined) continue;
        await json(
          app("/prpc/Tappd.TdxQuote", {
            report_data: toHex(utf8(row.content_utf8)),
            hash_algorithm: row.hash_algorithm,
            prefix: row.prefix_request,
          }),
        );
        assert.equal(toHex(ports.tee.asked.at(-1) ?? new Uint8Array()), row.report_data, JSON.stringify(row));
      }
    });

    it("names what is wrong with a legacy quote as released agents do", async () => {
      for (const [method, request, text] of [
        ["RawQuote", { report_data: "00".repeat(63) }, "invalid content length: raw needs exactly 64 bytes, got 63"],
        ["RawQuote", { report_data: "00".repeat(65) }, "invalid content length: raw needs exactly 64 bytes, got 65"],
        [
          "TdxQuote",
          { report_data: "00", hash_algorithm: "raw" },
          "invalid content length: raw needs exactly 64 bytes, got 1",
        ],
        ["TdxQuote", { report_data: "00", hash_algorithm: "md5" }, "invalid hash algorithm: expected sha512, sha256,"],
      ] as const) {
        const answer = await app(`/prpc/Tappd.${method}`, request);
        assert.equal(answer.status, 400);
        assert.ok(answer.text.includes(text), answer.text);
      }
    });

    it("refuses a tag that would make evidence for another's certificate (DS #1266)", async () => {
      const answer = await app("/prpc/Tappd.TdxQuote", { report_data: "00", prefix: "ratls-cert" });
      assert.equal(answer.status, 400);
      assert.match(answer.text, /reserved/);
    });

    it("binds public evidence to the caller's nonce", async () => {
      const answer = await json(ask({ port }, "/evidence?nonce=00112233"));
      assert.equal(answer["report_data"], toHex(evidenceReportData(parseHex("00112233"))));
      assert.equal(typeof answer["app_compose"], "string");
      for (const nonce of ["", "zz", "00".repeat(33)])
        assert.equal((await ask({ port }, `/evidence?nonce=${nonce}`)).status, 400, nonce);
    });

    it("names its version on the public port and escapes what containers are called", async () => {
      const answer = await ask({ port }, "/prpc/Worker.Version");
      assert.equal(answer.headers["x-app-version"], VERSION_TEXT);
      const page = await ask({ port }, "/");
      assert.match(page.text, /&#60;web&#62;/);
      assert.doesNotMatch(page.text, /<web>/);
    });

    it("offers the app's own methods to nobody on the public port (#561)", async () => {
      for (const method of ["GetKey", "GetTlsKey", "GetQuote", "EmitEvent", "Attest"]) {
        for (const path of [`/${method}`, `/prpc/${method}`, `/prpc/Worker.${method}`, `/prpc/DstackGuest.${method}`]) {
          const answer = await ask({ port }, path, {});
          assert.ok(answer.status === 400 || answer.status === 404, `${path}: ${answer.status}`);
          assert.doesNotMatch(answer.text, /signature_chain|certificate_chain|quote/);
        }
      }
    });

    it("states the app's signing key as the vectors do", () => {
      const vectors = set.json<{
        k256_key: string;
        dip1_ed25519: string;
        dip1_secp256k1: string;
        ed25519_pubkey: string;
      }>("guest/sign-verify.json");
      const keys = { ...ports.keys, k256Key: parseHex(vectors.k256_key) };
      assert.equal(appKeyStatement({ keys }, "ed25519"), vectors.dip1_ed25519);
      assert.equal(appKeyStatement({ keys }, "k256"), vectors.dip1_secp256k1);
      assert.throws(() => appKeyStatement({ keys }, "secp256k1_prehashed"), /Unsupported algorithm/);
      assert.equal(toHex(deriveAppKey(keys, "vms", "signing", "ed25519").publicKey), vectors.ed25519_pubkey);
    });
  });
}

describe("agent of an app that makes nothing public", () => {
  it("hides measurements and evidence", async () => {
    const folder = await mkdtemp(join(tmpdir(), "dstack-agent-"));
    const agent = createAgent(recordedPorts({ public_tcbinfo: false }));
    const listeners = await listen(agent, { folder, publicListen: { host: "127.0.0.1", port: 0 } });
    try {
      const base = `http://127.0.0.1:${listeners.publicPort}`;
      const info = (await (await fetch(`${base}/prpc/Worker.Info`)).json()) as Record<string, unknown>;
      assert.equal(info["tcb_info"], "");
      assert.equal(info["vm_config"], "");
      assert.equal((await fetch(`${base}/evidence?nonce=00`)).status, 404);
      assert.match(await (await fetch(`${base}/`)).text(), /TCB info is not public/);
    } finally {
      await listeners.close();
      await rm(folder, { recursive: true });
    }
  });
});
