import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { reportData } from "@dstack/bytes";
import {
  AttestError, decodeAppInfo, decodeAttestation, encodeAttestationV0, encodeAttestationV1, encodeEventLogJson, formatRuntimeLogLine,
  parseCcel, parseEventLogJson, parseQuote, parseRuntimeLog, runtimeEntries,
} from "@dstack/attest";
import type { Attestation, RuntimeEvent } from "@dstack/attest";

const PLAIN = { noNullPrototype: true } as const;
const runtimeEvent: fc.Arbitrary<RuntimeEvent> = fc.record({ event: fc.string({ unit: "grapheme", maxLength: 40 }), payload: fc.uint8Array({ maxLength: 200 }) }, PLAIN);
const attestation: fc.Arbitrary<Attestation> = fc.record({
  platform: fc.record({ kind: fc.constant("tdx" as const), quote: fc.uint8Array({ maxLength: 600 }), eventLog: fc.array(runtimeEvent, { maxLength: 5 }).map(runtimeEntries) }, PLAIN),
  runtimeEvents: fc.array(runtimeEvent, { maxLength: 5 }),
  reportData: fc.uint8Array({ minLength: 64, maxLength: 64 }).map(reportData),
  config: fc.string({ unit: "grapheme", maxLength: 300 }),
}, PLAIN);

test("attestations come back as written in both encodings", () => {
  fc.assert(fc.property(attestation, (value) => {
    assert.deepEqual(decodeAttestation(encodeAttestationV0(value)), value);
    assert.deepEqual(decodeAttestation(encodeAttestationV1(value)), value);
  }));
});

test("every accepted version 0 attestation encodes back to the same bytes, however it was mangled", () => {
  fc.assert(fc.property(attestation, fc.nat(), fc.nat({ max: 255 }), (value, position, byte) => {
    const bytes = encodeAttestationV0(value);
    bytes[position % bytes.length] = byte;
    let decoded: Attestation;
    try {
      decoded = decodeAttestation(bytes);
    } catch (error) {
      assert.ok(error instanceof AttestError, String(error));
      return;
    }
    if (bytes[0] === 0) assert.deepEqual(encodeAttestationV0(decoded), bytes);
  }), { numRuns: 300 });
});

test("event logs come back as written", () => {
  fc.assert(fc.property(fc.array(runtimeEvent, { maxLength: 8 }), (events) => {
    const entries = runtimeEntries(events);
    assert.deepEqual(parseEventLogJson(encodeEventLogJson(entries)), entries);
    assert.deepEqual(parseRuntimeLog(events.map(formatRuntimeLogLine).join("")), events);
  }));
});

test("readers of untrusted bytes refuse noise with their own error and nothing else", () => {
  const readers = [decodeAttestation, parseQuote, parseCcel, decodeAppInfo];
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1500 }), fc.constantFrom(...readers), (bytes, read) => {
    try {
      read(bytes);
    } catch (error) {
      assert.ok(error instanceof AttestError, String(error));
    }
  }), { numRuns: 500 });
});
