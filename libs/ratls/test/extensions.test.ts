import assert from "node:assert/strict";
import { sign } from "node:crypto";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, parseHex, reportData, toHex, u32le, utf8 } from "@dstack/bytes";
import {
  AttestError,
  decodeAttestation,
  encodeAppInfo,
  encodeAttestationV0,
  encodeAttestationV1,
  type Attestation,
} from "@dstack/attest";
import {
  derBitString,
  derContext,
  derElement,
  derOctetString,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
} from "@dstack/der";
import { generateP256, privateKeyObject, spkiDer } from "@dstack/keys";
import { DSTACK_OID, RatlsError, readDstackExtensions } from "@dstack/ratls";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const extension = (oid: string, value: Uint8Array): Uint8Array => derSequence(derOid(oid), derElement(0x04, value));
const wrapped = (oid: string, payload: Uint8Array): Uint8Array => extension(oid, derOctetString(payload));

/** A self-signed certificate with any extensions, also such that the builder would never write. */
function certificate(...extensions: readonly Uint8Array[]): Uint8Array {
  const key = generateP256();
  const algorithm = derSequence(derOid("1.2.840.10045.4.3.2"));
  const tbs = derSequence(
    derContext(0, true, derUnsigned(2)),
    derUnsigned(1),
    algorithm,
    derSequence(),
    derSequence(derTime(0), derTime(2_000_000_000)),
    derSequence(),
    spkiDer(key),
    derContext(3, true, derSequence(...extensions)),
  );
  return derSequence(tbs, algorithm, derBitString(new Uint8Array(sign("sha256", tbs, privateKeyObject(key)))));
}

/** A small attestation in both encodings, and the positional and the named form of app info. */
const EVIDENCE: Attestation = {
  platform: { kind: "tdx", quote: new Uint8Array(40).fill(3), eventLog: [] },
  runtimeEvents: [{ event: "a", payload: new Uint8Array(2) }],
  reportData: reportData(new Uint8Array(64)),
  config: "{}",
};
const APP_INFO = encodeAppInfo({
  appId: new Uint8Array(20),
  composeHash: utf8("c"),
  instanceId: utf8("i"),
  deviceId: utf8("d"),
  mrSystem: new Uint8Array(32),
  mrAggregated: new Uint8Array(32),
  osImageHash: utf8("o"),
  keyProviderInfo: utf8("k"),
});
const APP_INFO_NAMED = parseHex(
  `88${[
    ["app_id", `c414${"00".repeat(20)}`],
    ["compose_hash", "c40163"],
    ["instance_id", "c40169"],
    ["device_id", "c40164"],
    ["mr_system", `c420${"00".repeat(32)}`],
    ["mr_aggregated", `c420${"00".repeat(32)}`],
    ["os_image_hash", "c4016f"],
    ["key_provider_info", "c4016b"],
  ]
    .map(([name, value]) => `${(0xa0 + name!.length).toString(16)}${toHex(utf8(name!))}${value}`)
    .join("")}`,
);

const refused = (der: Uint8Array): string => {
  try {
    readDstackExtensions(der);
  } catch (error) {
    // An attestation that happens to begin like one of another platform is named so.
    const { cause } = error as Error;
    const expected =
      cause instanceof AttestError && cause.code === "platform-unsupported"
        ? "evidence-unsupported"
        : "extension-malformed";
    assert.ok(error instanceof RatlsError && error.code === expected, String(error));
    return `${error.message}: ${error.cause instanceof Error ? error.cause.message : ""}`;
  }
  return "accepted";
};

const SIMULATED = "guest/simulator-0.6/attestation.bin";

test("a certificate without dstack extensions says nothing", () => {
  const { certificate: _, ...rest } = readDstackExtensions(certificate(wrapped("1.2.3.4", utf8("x"))));
  assert.deepEqual(rest, {});
});

test("refuses a repeated extension", () => {
  const twice = wrapped(DSTACK_OID.usage, utf8("kms:rpc"));
  assert.match(refused(certificate(twice, twice)), /twice/);
});

test("refuses payloads that are unwrapped, trailed or of the wrong length", () => {
  assert.match(refused(certificate(extension(DSTACK_OID.usage, utf8("kms:rpc")))), /cannot be read/);
  assert.match(
    refused(certificate(extension(DSTACK_OID.usage, concatBytes(derOctetString(utf8("kms:rpc")), Uint8Array.of(0))))),
    /after the element/,
  );
  assert.match(refused(certificate(wrapped(DSTACK_OID.appId, new Uint8Array(19)))), /expected 20 bytes/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.appId, new Uint8Array(21)))), /expected 20 bytes/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.usage, Uint8Array.of(0xff)))), /UTF-8/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.usage, new Uint8Array(257)))), /limit 256/);
  assert.equal(readDstackExtensions(certificate(wrapped(DSTACK_OID.usage, new Uint8Array(256)))).usage?.length, 256);
  assert.match(refused(certificate(wrapped(DSTACK_OID.appInfo, parseHex("90")))), /expected 8 or 9/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.attestation, new Uint8Array()))), /Empty attestation/);
  assert.match(refused(utf8("not a certificate")), /cannot be read/);
});

vectorTest("reads the newer evidence, and the older pair only where the newer is absent", SIMULATED, ({ bytes }) => {
  const read = readDstackExtensions(
    certificate(wrapped(DSTACK_OID.attestation, bytes(SIMULATED)), wrapped(DSTACK_OID.quote, utf8("nonsense"))),
  );
  assert.equal(read.attestation?.runtimeEvents[1]?.event, "app-id");
  const quote = read.attestation!.platform.quote;
  const pair = readDstackExtensions(
    certificate(wrapped(DSTACK_OID.quote, quote), wrapped(DSTACK_OID.eventLog, utf8("[]"))),
  );
  assert.deepEqual(pair.attestation?.platform.quote, quote);
  assert.deepEqual(pair.attestation?.reportData, read.attestation?.reportData);
  assert.deepEqual([read.evidenceForm, pair.evidenceForm], ["attestation", "quote-and-event-log"]);
  assert.match(refused(certificate(wrapped(DSTACK_OID.quote, quote))), /TDX event log missing/);
});

vectorTest("opens a compressed event log of 16 KiB and refuses a larger one (#566)", SIMULATED, ({ bytes }) => {
  const quote = readDstackExtensions(certificate(wrapped(DSTACK_OID.attestation, bytes(SIMULATED)))).attestation!
    .platform.quote;
  const log = (size: number): Uint8Array =>
    concatBytes(utf8("ELGZv1"), new Uint8Array(gzipSync(utf8("[]".padEnd(size, " ")))));
  const read = (payload: Uint8Array): Uint8Array =>
    certificate(wrapped(DSTACK_OID.quote, quote), wrapped(DSTACK_OID.eventLog, payload));
  assert.equal(refused(read(log(16_384))), "accepted");
  assert.match(refused(read(log(16_385))), /above 16384/);
  assert.match(refused(read(log(200 * 1024 * 1024))), /above 16384/);
  assert.match(refused(read(utf8("ELGZv1garbage"))), /broken/);
  assert.match(refused(read(concatBytes(log(100), Uint8Array.of(0)))), /bytes after the gzip stream/);
  for (const tail of [Uint8Array.of(0), Uint8Array.of(0, 0), utf8("x"), u32le(2), log(3).subarray(6)])
    assert.match(refused(read(concatBytes(log(2), tail))), /after the gzip stream|broken/);
});

test("reads each form of evidence and app info that peers write", () => {
  for (const bytes of [encodeAttestationV0(EVIDENCE), encodeAttestationV1(EVIDENCE)]) {
    assert.deepEqual(readDstackExtensions(certificate(wrapped(DSTACK_OID.attestation, bytes))).attestation, EVIDENCE);
  }
  const positional = readDstackExtensions(certificate(wrapped(DSTACK_OID.appInfo, APP_INFO))).appInfo;
  assert.deepEqual(readDstackExtensions(certificate(wrapped(DSTACK_OID.appInfo, APP_INFO_NAMED))).appInfo, positional);
  assert.deepEqual(
    readDstackExtensions(
      certificate(wrapped(DSTACK_OID.appInfo, concatBytes(parseHex("99"), APP_INFO.subarray(1), parseHex("c0")))),
    ).appInfo,
    positional,
  );
});

test("an event log without a quote is no evidence", () => {
  assert.equal(readDstackExtensions(certificate(wrapped(DSTACK_OID.eventLog, utf8("[]")))).attestation, undefined);
});

test("names evidence of other platforms, and verifies none of it by half", () => {
  for (const bytes of [parseHex("0003"), parseHex("d28444a1013822")]) {
    assert.throws(
      () => readDstackExtensions(certificate(wrapped(DSTACK_OID.attestation, bytes))),
      (error: unknown) =>
        error instanceof RatlsError &&
        error.code === "evidence-unsupported" &&
        error.message.startsWith("not supported: "),
    );
  }
});

test("refuses each payload cut anywhere or a byte longer", () => {
  for (const [oid, payload] of [
    [DSTACK_OID.attestation, encodeAttestationV0(EVIDENCE)],
    [DSTACK_OID.attestation, encodeAttestationV1(EVIDENCE)],
    [DSTACK_OID.appInfo, APP_INFO],
    [DSTACK_OID.appInfo, APP_INFO_NAMED],
  ] as const) {
    for (let length = 0; length < payload.length; length++)
      assert.notEqual(
        refused(certificate(wrapped(oid, payload.subarray(0, length)))),
        "accepted",
        `${oid} cut at ${length}`,
      );
    assert.notEqual(refused(certificate(wrapped(oid, concatBytes(payload, Uint8Array.of(0))))), "accepted", oid);
  }
});

test("refuses a certificate cut anywhere, trailed, or with a length at its extreme", () => {
  const whole = certificate(
    wrapped(DSTACK_OID.usage, utf8("kms:rpc")),
    wrapped(DSTACK_OID.attestation, encodeAttestationV0(EVIDENCE)),
  );
  assert.equal(refused(whole), "accepted");
  for (let length = 0; length < whole.length; length++)
    assert.notEqual(refused(whole.subarray(0, length)), "accepted", `cut at ${length}`);
  assert.match(refused(concatBytes(whole, Uint8Array.of(0))), /after the element/);
  const usage = toHex(wrapped(DSTACK_OID.usage, utf8("kms:rpc")));
  for (const length of ["80", "7f", "81ff", "82ffff", "84ffffffff", "ff", "8109", "00"]) {
    const at = usage.lastIndexOf("0409");
    const broken = parseHex(`${usage.slice(0, at)}04${length}${usage.slice(at + 4)}`);
    assert.notEqual(refused(certificate(broken)), "accepted", length);
  }
  assert.match(refused(new Uint8Array(16 * 1024 * 1024 + 1)), /limit 16777216/);
  assert.doesNotMatch(refused(new Uint8Array(16 * 1024 * 1024)), /limit 16777216/);
});

test("takes no time over 20 KB of nested ASN.1", () => {
  let nested = derOctetString(utf8("x"));
  while (nested.length < 20_000) nested = nested.length % 2 === 0 ? derSequence(nested) : derOctetString(nested);
  for (const oid of Object.values(DSTACK_OID)) {
    const der = certificate(extension(oid, nested));
    if (oid === DSTACK_OID.eventLog) assert.equal(readDstackExtensions(der).attestation, undefined);
    else assert.notEqual(refused(der), "accepted", oid);
  }
  assert.equal(refused(certificate(extension("1.2.3.4", nested))), "accepted", "what nobody reads is not opened");
});

test("what a certificate carries comes back as it went in", () => {
  const evidence = fc.record(
    {
      platform: fc.record(
        { kind: fc.constant("tdx" as const), quote: fc.uint8Array({ maxLength: 200 }), eventLog: fc.constant([]) },
        { noNullPrototype: true },
      ),
      runtimeEvents: fc.array(
        fc.record({ event: fc.string(), payload: fc.uint8Array({ maxLength: 20 }) }, { noNullPrototype: true }),
        { maxLength: 3 },
      ),
      reportData: fc.uint8Array({ minLength: 64, maxLength: 64 }).map(reportData),
      config: fc.string(),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(evidence, fc.boolean(), fc.string({ maxLength: 60 }), (value, isV1, usage) => {
      const bytes = isV1 ? encodeAttestationV1(value) : encodeAttestationV0(value);
      const read = readDstackExtensions(
        certificate(wrapped(DSTACK_OID.attestation, bytes), wrapped(DSTACK_OID.usage, utf8(usage))),
      );
      assert.deepEqual([read.attestation, read.usage], [decodeAttestation(bytes), usage]);
    }),
    { numRuns: 40 },
  );
});

test("any bytes are refused or read, never anything else", () => {
  fc.assert(
    fc.property(fc.constantFrom(...Object.values(DSTACK_OID)), fc.uint8Array({ maxLength: 200 }), (oid, bytes) => {
      refused(certificate(wrapped(oid, bytes)));
      refused(bytes);
    }),
    { numRuns: 60 },
  );
});
