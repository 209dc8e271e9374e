import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Tee } from "@dstack/agent";
import { padReportData, parseQuote, reportDataFor } from "@dstack/attest";
import { hash48, toHex, type Hash48 } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { askKeyProvider, sealBox, type KeyProviderAnswer } from "@dstack/key-provider";
import { spkiDer } from "@dstack/keys";
import { readDstackExtensions } from "@dstack/ratls";
import type { HttpServer } from "@dstack/rpc";
import {
  mockPki,
  parseSeed,
  signMockEnclaveQuote,
  signMockQuote,
  SOFTWARE_ENCLAVE,
  startMockPccs,
  startSoftwareKeyProvider,
} from "@dstack/tee-simulator";
import { quietLog, recordedTee } from "../../../libs/agent/test/fixture.ts";
import { evidenceVerifiers } from "../src/identity/evidence-verifier.ts";
import { appKeysJson, providerId, type ReceivedKeys } from "../src/keys/app-keys.ts";
import { requestLocalKeys, type LocalKeysOptions } from "../src/keys/local-keys.ts";

const pki = mockPki(parseSeed("6b".repeat(32)));
const strangers = mockPki(parseSeed("6c".repeat(32)));
const register = (byte: number): Hash48 => hash48(new Uint8Array(48).fill(byte));
const now = (): number => Math.floor(Date.now() / 1000);

describe("keys from the local key provider", () => {
  let folder: string;
  let pccs: HttpServer;
  let provider: Server;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "local-keys-"));
    await writeFile(join(folder, "roots.json"), JSON.stringify({ tdx: pki.rootPem }));
    pccs = await startMockPccs({ pki, host: "127.0.0.1", port: 0, log: quietLog, clock: Date });
    provider = await start();
  });
  after(async () => {
    provider.close();
    await pccs.close();
    await rm(folder, { recursive: true, force: true });
  });

  function start(changes: { readonly qeId?: Uint8Array; readonly port?: number } = {}): Promise<Server> {
    return startSoftwareKeyProvider({
      pki,
      sealingKey: new Uint8Array(32).fill(0x5e),
      qeId: changes.qeId ?? new Uint8Array(16),
      host: "127.0.0.1",
      port: changes.port ?? 0,
      log: quietLog,
      clock: Date,
    });
  }
  const portOf = (server: Server): number => (server.address() as AddressInfo).port;
  const asking = (server: Server) => (quote: Uint8Array) =>
    askKeyProvider({ address: "127.0.0.1", port: portOf(server) }, quote);

  /** A simulated trust domain whose RTMR3 says which app it is. */
  function trustDomain(rtmr3 = register(4)): Tee {
    const recorded = recordedTee();
    const td = {
      mrTd: register(9),
      mrConfigId: register(0),
      rtmr: [register(1), register(2), register(3), rtmr3],
    } as const;
    return {
      emit: recorded.emit,
      attest: async (reportData, config) => {
        const attestation = await recorded.attest(reportData, config);
        return { ...attestation, platform: { ...attestation.platform, quote: signMockQuote(pki, td, reportData) } };
      },
    };
  }

  function request(changes: Partial<LocalKeysOptions> & { readonly pccsUrl?: string } = {}): Promise<ReceivedKeys> {
    const verifying = {
      pccsUrls: [changes.pccsUrl ?? `http://${pccs.address}`],
      isDev: true,
      rootsFile: join(folder, "roots.json"),
      now,
    };
    return requestLocalKeys({
      tee: trustDomain(),
      vmConfig: "{}",
      ask: asking(provider),
      verify: evidenceVerifiers(verifying).provider,
      pinnedProviderId: new Uint8Array(),
      log: quietLog,
      onWaiting: () => undefined,
      now,
      patienceMs: 0,
      ...changes,
    });
  }

  /** An answer in which a test changes what it wants, its quote made anew over the box unless that is changed too. */
  const tampered =
    (change: (answer: KeyProviderAnswer, quote: Uint8Array) => KeyProviderAnswer) =>
    async (quote: Uint8Array): Promise<KeyProviderAnswer> =>
      change(await asking(provider)(quote), quote);
  const quoteOver = (box: Uint8Array, signer = pki): Uint8Array =>
    signMockEnclaveQuote(
      signer,
      SOFTWARE_ENCLAVE,
      padReportData(new Uint8Array(createHash("sha256").update(box).digest())),
    );

  it("are the same at every boot of the same app on the same machine", async () => {
    const [first, second] = [await request(), await request()];
    assert.deepEqual(first.keys.diskCryptKey, second.keys.diskCryptKey);
    assert.deepEqual(first.keys.k256Key, second.keys.k256Key);
    assert.equal(first.keys.envCryptKey.length, 0);
    assert.equal(toHex(providerId(first.keys.provider)), toHex(SOFTWARE_ENCLAVE.mrEnclave));
    const file = JSON.parse(appKeysJson(first.keys)) as { key_provider: { Local: { mr: string } } };
    assert.equal(file.key_provider.Local.mr, toHex(SOFTWARE_ENCLAVE.mrEnclave));
  });

  it("are others for another version of the app", async () => {
    const other = await request({ tee: trustDomain(register(5)) });
    assert.notDeepEqual(other.keys.diskCryptKey, (await request()).keys.diskCryptKey);
  });

  it("come with a CA whose certificate shows evidence for its key", async () => {
    const { keys } = await request();
    const [der] = readPem(keys.caCertificatePem, "CERTIFICATE", "CA");
    assert.ok(der && keys.provider.kind === "local");
    const { attestation } = readDstackExtensions(der);
    assert.ok(attestation);
    const bound = parseQuote(attestation.platform.quote).body.reportData;
    assert.deepEqual(bound, reportDataFor("ratls-cert", spkiDer(keys.provider.key)));
  });

  it("are taken from the pinned enclave, and from no other", async () => {
    await request({ pinnedProviderId: SOFTWARE_ENCLAVE.mrEnclave });
    await assert.rejects(request({ pinnedProviderId: new Uint8Array(32).fill(1) }), {
      code: "keys-refused",
      message: `Unexpected key provider id: ${toHex(SOFTWARE_ENCLAVE.mrEnclave)}, expected: ${"01".repeat(32)}`,
    });
  });

  for (const [what, change, expected] of [
    [
      "a key sealed by whoever carried the answer",
      (_, quote) => {
        const box = sealBox(new Uint8Array(32).fill(1), recipientOf(quote));
        return { encryptedKey: box, providerQuote: quoteOver(box, strangers) };
      },
      { code: "keys-refused", message: /does not verify/ },
    ],
    [
      "a genuine quote over another key",
      (answer, quote) => ({ ...answer, encryptedKey: sealBox(new Uint8Array(32).fill(1), recipientOf(quote)) }),
      { code: "keys-refused", message: /Invalid key hash/ },
    ],
    [
      "a trust domain's quote in the place of the enclave's",
      (answer, quote) => ({ ...answer, providerQuote: quote }),
      { code: "keys-refused", message: /expected an enclave's/ },
    ],
    [
      "bytes that are no quote",
      (answer) => ({ ...answer, providerQuote: new Uint8Array(64) }),
      { code: "keys-refused", message: /does not verify/ },
    ],
    [
      "a key that was sealed for another boot",
      () => {
        const box = sealBox(new Uint8Array(32), new Uint8Array(32).fill(9));
        return { encryptedKey: box, providerQuote: quoteOver(box) };
      },
      { code: "keys-invalid", message: /cannot be opened/ },
    ],
    [
      "a key of 31 bytes",
      (_, quote) => {
        const box = sealBox(new Uint8Array(31), recipientOf(quote));
        return { encryptedKey: box, providerQuote: quoteOver(box) };
      },
      { code: "keys-invalid", message: /31 bytes, expected 32/ },
    ],
  ] satisfies [
    string,
    (answer: KeyProviderAnswer, quote: Uint8Array) => KeyProviderAnswer,
    { code: string; message: RegExp },
  ][]) {
    it(`are refused where the answer is ${what}`, async () => {
      await assert.rejects(request({ ask: tampered(change) }), expected);
    });
  }

  it("are waited for while the provider is down, and said to be", async () => {
    const port = portOf(await closed(await start()));
    const waits: string[] = [];
    let late: Server | undefined;
    try {
      const keys = await request({
        ask: (quote) => askKeyProvider({ address: "127.0.0.1", port }, quote),
        patienceMs: 10_000,
        onWaiting: (why) => {
          waits.push(why);
          void start({ port }).then((server) => (late = server));
        },
      });
      assert.deepEqual(keys.keys.diskCryptKey, (await request()).keys.diskCryptKey);
      assert.match(waits[0] ?? "", /^waiting for the local key provider: no key provider at 127\.0\.0\.1:\d+: /);
    } finally {
      late?.close();
    }
  });

  it("are not had for a quote of another machine: the provider gives no answer, and the guest says what it waits for", async () => {
    const elsewhere = await start({ qeId: new Uint8Array(16).fill(3) });
    try {
      await assert.rejects(request({ ask: asking(elsewhere) }), { code: "keys-unavailable" });
    } finally {
      elsewhere.close();
    }
  });

  it("are waited for while the provider's quote cannot be judged", async () => {
    const port = portOf(await closed(createServer().listen(0, "127.0.0.1")));
    await assert.rejects(request({ pccsUrl: `http://127.0.0.1:${port}` }), { code: "keys-unavailable" });
  });

  it("are waited for while the only collateral server gives what ended long ago", async () => {
    const clock = { now: () => Date.now() - 400 * 86_400_000 };
    const stale = await startMockPccs({ pki, host: "127.0.0.1", port: 0, log: quietLog, clock });
    try {
      await assert.rejects(request({ pccsUrl: `http://${stale.address}` }), { code: "keys-unavailable" });
      const { kms } = evidenceVerifiers({
        pccsUrls: [`http://${stale.address}`],
        isDev: true,
        rootsFile: join(folder, "roots.json"),
        now,
      });
      const reportData = padReportData(new Uint8Array(32));
      const shown = await trustDomain().attest(reportData, "{}");
      await assert.rejects(async () => kms(shown, reportData, "attestation"), {
        code: "keys-unavailable",
      });
    } finally {
      await stale.close();
    }
  });
});

const recipientOf = (quote: Uint8Array): Uint8Array => parseQuote(quote).body.reportData.subarray(0, 32);

/** A server that was there and is gone; its port is free. */
async function closed(server: Server): Promise<Server> {
  if (!server.listening) await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  server.address = () => address;
  return server;
}
