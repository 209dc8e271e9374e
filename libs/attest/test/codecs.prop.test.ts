import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, reportData } from "@dstack/bytes";
import {
  AttestError,
  decodeAppInfo,
  decodeAttestation,
  decodeRuntimeEvents,
  encodeAppInfo,
  encodeAttestation,
  encodeAttestationV0,
  encodeAttestationV1,
  encodeEventLogJson,
  encodeKeyProviderInfo,
  entryToJson,
  formatRuntimeLogLine,
  parseCcel,
  parseEventLogJson,
  parseKeyProviderInfo,
  parseQuote,
  parseRuntimeLog,
  readGpuLaunch,
  recogniseUnsupported,
  runtimeEntries,
} from "@dstack/attest";
import type { AppInfoRecord, Attestation, RuntimeEvent } from "@dstack/attest";
import { ccelEvent, ccelHeader } from "./fixtures.ts";

const PLAIN = { noNullPrototype: true } as const;
const runtimeEvent: fc.Arbitrary<RuntimeEvent> = fc.record(
  { event: fc.string({ unit: "grapheme", maxLength: 40 }), payload: fc.uint8Array({ maxLength: 200 }) },
  PLAIN,
);
const versioned: fc.Arbitrary<RuntimeEvent> = fc
  .tuple(runtimeEvent, fc.boolean())
  .map(([item, isV2]) => (isV2 ? { ...item, version: 2 } : item));
const attestation: fc.Arbitrary<Attestation> = fc.record(
  {
    platform: fc.record(
      {
        kind: fc.constant("tdx" as const),
        quote: fc.uint8Array({ maxLength: 600 }),
        eventLog: fc.array(runtimeEvent, { maxLength: 5 }).map(runtimeEntries),
      },
      PLAIN,
    ),
    runtimeEvents: fc.array(runtimeEvent, { maxLength: 5 }),
    reportData: fc.uint8Array({ minLength: 64, maxLength: 64 }).map(reportData),
    config: fc.string({ unit: "grapheme", maxLength: 300 }),
  },
  PLAIN,
);

test("attestations come back as written in both encodings", () => {
  fc.assert(
    fc.property(attestation, (value) => {
      assert.deepEqual(decodeAttestation(encodeAttestationV0(value)), value);
      assert.deepEqual(decodeAttestation(encodeAttestationV1(value)), value);
    }),
  );
});

test("attestations with V2 events or a payload come back in the encoding that can carry them", () => {
  const value = fc.tuple(attestation, fc.array(versioned, { maxLength: 5 }));
  fc.assert(
    fc.property(value, ([base, events]) => {
      const whole = {
        ...base,
        runtimeEvents: events,
        platform: { ...base.platform, eventLog: runtimeEntries(events) },
      };
      const bytes = encodeAttestation(whole);
      assert.deepEqual(decodeAttestation(bytes), whole);
      assert.equal(
        bytes[0] === 0,
        events.every(({ version }) => version !== 2),
      );
    }),
  );
});

test("every accepted attestation encodes back to the same bytes, however it was mangled", () => {
  fc.assert(
    fc.property(attestation, fc.boolean(), fc.nat(), fc.nat({ max: 255 }), (value, isV1, position, byte) => {
      const bytes = isV1 ? encodeAttestationV1(value) : encodeAttestationV0(value);
      bytes[position % bytes.length] = byte;
      let decoded: Attestation;
      try {
        decoded = decodeAttestation(bytes);
      } catch (error) {
        assert.ok(error instanceof AttestError, String(error));
        return;
      }
      if (bytes[0] === 0) assert.deepEqual(encodeAttestationV0(decoded), bytes);
      // Version 1 has two forms of bytes; what it says is the same in the one that is written.
      else assert.deepEqual(decodeAttestation(encodeAttestationV1(decoded)), decoded);
    }),
    { numRuns: 400 },
  );
});

test("event logs come back as written, in JSON and in both forms of the guest's own log", () => {
  fc.assert(
    fc.property(fc.array(versioned, { maxLength: 8 }), (events) => {
      const entries = runtimeEntries(events);
      assert.deepEqual(parseEventLogJson(encodeEventLogJson(entries)), entries);
      assert.deepEqual(decodeRuntimeEvents(entries), events);
      assert.deepEqual(parseRuntimeLog(events.map(formatRuntimeLogLine).join("")), events);
      assert.deepEqual(
        parseRuntimeLog(entries.map((entry) => `${JSON.stringify(entryToJson(entry))}\n`).join("")),
        events,
      );
    }),
  );
});

test("a CCEL comes back event by event", () => {
  const item = fc.record(
    {
      imr: fc.integer({ min: 0, max: 3 }),
      eventType: fc.nat({ max: 0xffff_ffff }),
      digest: fc.uint8Array({ minLength: 48, maxLength: 48 }),
      eventPayload: fc.uint8Array({ maxLength: 80 }),
    },
    PLAIN,
  );
  fc.assert(
    fc.property(fc.array(item, { maxLength: 8 }), fc.nat({ max: 40 }), (items, fill) => {
      const bytes = concatBytes(
        ccelHeader,
        ...items.map((one) => ccelEvent(one.imr + 1, one.eventType, one.digest, one.eventPayload)),
        new Uint8Array(fill === 0 ? 0 : fill + 3).fill(0xff),
      );
      assert.deepEqual(
        parseCcel(bytes),
        items.map((one) => ({ ...one, event: "" })),
      );
    }),
  );
});

test("app info and key provider info come back as written", () => {
  const bytes = fc.uint8Array({ maxLength: 300 });
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const info: fc.Arbitrary<AppInfoRecord> = fc.record(
    {
      appId: bytes,
      composeHash: bytes,
      instanceId: bytes,
      deviceId: bytes,
      mrSystem: hash,
      mrAggregated: hash,
      osImageHash: bytes,
      keyProviderInfo: bytes,
    },
    PLAIN,
  );
  fc.assert(
    fc.property(info, fc.string(), fc.string(), (value, name, id) => {
      assert.deepEqual(decodeAppInfo(encodeAppInfo(value)), value);
      assert.deepEqual(parseKeyProviderInfo(encodeKeyProviderInfo({ name, id })), { name, id });
    }),
  );
});

test("readers of untrusted bytes refuse noise with their own error and nothing else", () => {
  const readers: readonly ((bytes: Uint8Array) => unknown)[] = [
    decodeAttestation,
    parseQuote,
    parseCcel,
    decodeAppInfo,
    parseKeyProviderInfo,
    recogniseUnsupported,
    (bytes) => parseCcel(concatBytes(ccelHeader, bytes)),
    (bytes) =>
      readGpuLaunch([
        { event: "gpu-policy-hash", payload: new Uint8Array(32) },
        { event: "gpu-attestation", payload: bytes },
      ]),
  ];
  const start = fc
    .constantFrom("", "\u0000\u0000", "\u0083\u00a7version\u0001", "\u0098", "\u0088", "{", "[")
    .map((text) => Uint8Array.from(text, (character) => character.charCodeAt(0)));
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 1500 }), fc.constantFrom(...readers), (first, rest, read) => {
      try {
        read(concatBytes(first, rest));
      } catch (error) {
        assert.ok(error instanceof AttestError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
