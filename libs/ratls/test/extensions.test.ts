import assert from "node:assert/strict";
import { sign } from "node:crypto";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { concatBytes, parseHex, utf8 } from "@dstack/bytes";
import { derBitString, derContext, derElement, derOctetString, derOid, derSequence, derTime, derUnsigned } from "@dstack/der";
import { generateP256, privateKeyObject, spkiDer } from "@dstack/keys";
import { DSTACK_OID, RatlsError, readDstackExtensions } from "@dstack/ratls";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const extension = (oid: string, value: Uint8Array): Uint8Array => derSequence(derOid(oid), derElement(0x04, value));
const wrapped = (oid: string, payload: Uint8Array): Uint8Array => extension(oid, derOctetString(payload));

/** A self-signed certificate with any extensions, also such that the builder would never write. */
function certificate(...extensions: readonly Uint8Array[]): Uint8Array {
  const key = generateP256();
  const algorithm = derSequence(derOid("1.2.840.10045.4.3.2"));
  const tbs = derSequence(
    derContext(0, true, derUnsigned(2)), derUnsigned(1), algorithm, derSequence(), derSequence(derTime(0), derTime(2_000_000_000)), derSequence(),
    spkiDer(key), derContext(3, true, derSequence(...extensions)),
  );
  return derSequence(tbs, algorithm, derBitString(new Uint8Array(sign("sha256", tbs, privateKeyObject(key)))));
}

const refused = (der: Uint8Array): string => {
  try {
    readDstackExtensions(der);
  } catch (error) {
    assert.ok(error instanceof RatlsError && error.code === "extension-malformed", String(error));
    return `${error.message}: ${error.cause instanceof Error ? error.cause.message : ""}`;
  }
  return "accepted";
};

const quoteFile = join(import.meta.dirname, "../../../../shared/vectors/attestation/simulator/attestation.bin");
const skip = existsSync(quoteFile) ? false : `no vectors at ${quoteFile}`;
const ATTESTATION = skip === false ? new Uint8Array(readFileSync(quoteFile)) : new Uint8Array();

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
  assert.match(refused(certificate(extension(DSTACK_OID.usage, concatBytes(derOctetString(utf8("kms:rpc")), Uint8Array.of(0))))), /after the element/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.appId, new Uint8Array(19)))), /expected 20 bytes/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.appId, new Uint8Array(21)))), /expected 20 bytes/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.usage, Uint8Array.of(0xff)))), /UTF-8/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.usage, new Uint8Array(257)))), /limit 256/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.appInfo, parseHex("90")))), /expected 8 or 9/);
  assert.match(refused(certificate(wrapped(DSTACK_OID.attestation, new Uint8Array()))), /Empty attestation/);
  assert.match(refused(utf8("not a certificate")), /cannot be read/);
});

test("reads the newer evidence, and the older pair only where the newer is absent", { skip }, () => {
  const read = readDstackExtensions(certificate(wrapped(DSTACK_OID.attestation, ATTESTATION), wrapped(DSTACK_OID.quote, utf8("nonsense"))));
  assert.equal(read.attestation?.runtimeEvents[1]?.event, "app-id");
  const quote = read.attestation!.platform.quote;
  const pair = readDstackExtensions(certificate(wrapped(DSTACK_OID.quote, quote), wrapped(DSTACK_OID.eventLog, utf8("[]"))));
  assert.deepEqual(pair.attestation?.platform.quote, quote);
  assert.deepEqual(pair.attestation?.reportData, read.attestation?.reportData);
  assert.match(refused(certificate(wrapped(DSTACK_OID.quote, quote))), /TDX event log missing/);
});

test("opens a compressed event log of 16 KiB and refuses a larger one (#566)", { skip }, () => {
  const quote = readDstackExtensions(certificate(wrapped(DSTACK_OID.attestation, ATTESTATION))).attestation!.platform.quote;
  const log = (size: number): Uint8Array => concatBytes(utf8("ELGZv1"), new Uint8Array(gzipSync(utf8("[]".padEnd(size, " ")))));
  const read = (payload: Uint8Array): Uint8Array => certificate(wrapped(DSTACK_OID.quote, quote), wrapped(DSTACK_OID.eventLog, payload));
  assert.equal(refused(read(log(16_384))), "accepted");
  assert.match(refused(read(log(16_385))), /above 16384/);
  assert.match(refused(read(log(200 * 1024 * 1024))), /above 16384/);
  assert.match(refused(read(utf8("ELGZv1garbage"))), /broken/);
  for (const tail of [Uint8Array.of(0), Uint8Array.of(0, 0), utf8("x"), log(3).subarray(6)]) assert.match(refused(read(concatBytes(log(2), tail))), /after the gzip stream|broken/);
});
