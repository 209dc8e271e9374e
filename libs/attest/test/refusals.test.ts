import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, reportData, u32le, utf8 } from "@dstack/bytes";
import {
  collateralFromJson,
  customReportData,
  decodeAppInfo,
  decodeAttestation,
  decodeRuntimeEvents,
  encodeAttestation,
  encodeAttestationV0,
  encodeAttestationV1,
  eventDigestV1,
  eventDigestV2,
  intelTrustAnchor,
  mergeTcbStatus,
  newRuntimeEvent,
  osImageHashOf,
  padReportData,
  parseKeyProviderInfo,
  parseQuote,
  readBootClaims,
  reportDataFor,
  runtimeEntries,
  trustAnchorFromPem,
} from "@dstack/attest";
import type { Attestation } from "@dstack/attest";
import { boot, event, none, refuses } from "./fixtures.ts";

const attestation: Attestation = {
  platform: { kind: "tdx", quote: Uint8Array.of(1, 2, 200), eventLog: runtimeEntries(boot) },
  runtimeEvents: boot,
  reportData: reportData(new Uint8Array(64).fill(9)),
  config: '{"cpu_count":1}',
};

// DS #1266: a caller's own tag may not make evidence that passes for the platform's.
test("refuses reserved tags, unknown hashes and report data of the wrong length", () => {
  for (const tag of ["ratls-cert", "ratls-cert:x", "kms-root-ca"])
    refuses("report-data-invalid", () => customReportData(tag, none));
  for (const hash of ["md5", "toString", "__proto__"])
    refuses("report-data-invalid", () => customReportData("x", none, hash));
  refuses("report-data-invalid", () => customReportData("x", new Uint8Array(63), "raw"));
  refuses("report-data-invalid", () => padReportData(new Uint8Array(65)));
  assert.equal(padReportData(Uint8Array.of(1))[0], 1);
  assert.notDeepEqual(reportDataFor("ratls-cert", none), reportDataFor("app-data", none));
});

test("refuses event names that would make two events look the same", () => {
  assert.deepEqual(eventDigestV1("a", utf8("b:c")), eventDigestV1("a:b", utf8("c")));
  assert.notDeepEqual(eventDigestV2("a", utf8("b:c")), eventDigestV2("a:b", utf8("c")));
  for (const name of ["a:b", "", "a\n", "x".repeat(129)]) refuses("event-invalid", () => newRuntimeEvent(name, none));
});

test("believes no digest that does not follow from the event", () => {
  const [entry] = runtimeEntries([event("app-id", Uint8Array.of(1))]);
  assert.ok(entry);
  assert.equal(decodeRuntimeEvents([entry]).length, 1);
  assert.equal(decodeRuntimeEvents([{ ...entry, digest: none }]).length, 1);
  refuses("event-digest-mismatch", () => decodeRuntimeEvents([{ ...entry, digest: new Uint8Array(48) }]));
  refuses("event-digest-mismatch", () => decodeRuntimeEvents([{ ...entry, eventPayload: Uint8Array.of(2) }]));
  // safeboot #139: the type is part of what is hashed.
  refuses("event-type-unsupported", () => decodeRuntimeEvents([{ ...entry, eventType: 5 }]));
});

// DS #1294: a V2 preimage is judged on the very object that is replayed.
test("believes no V2 preimage that is not the event's own", () => {
  const [entry] = runtimeEntries([{ event: "a", payload: Uint8Array.of(1), version: 2 }]);
  assert.ok(entry);
  assert.equal(decodeRuntimeEvents([entry])[0]?.version, 2);
  refuses("event-digest-mismatch", () => decodeRuntimeEvents([{ ...entry, preimage: utf8("{}") }]));
});

// NM #735: look-alikes of runtime events in other registers count for nothing.
test("takes no runtime event from another register", () => {
  const entries = runtimeEntries([event("compose-hash", new Uint8Array(32))]).map((entry) => ({ ...entry, imr: 2 }));
  assert.deepEqual(decodeRuntimeEvents(entries), []);
});

test("takes identity only from before system-ready and only once", () => {
  const late = [
    ...boot,
    event("system-ready"),
    event("compose-hash", new Uint8Array(32).fill(9)),
    event("app-id", none),
  ];
  assert.deepEqual(readBootClaims(late).composeHash, new Uint8Array(32).fill(2));
  refuses("event-duplicate", () => readBootClaims([...boot, event("compose-hash", new Uint8Array(32).fill(9))]));
  refuses("event-missing", () => readBootClaims([event("system-ready"), ...boot]));
});

// DS #1320: a guest that tried two key servers has two os-image-hash events; the first counts.
test("takes the first os-image-hash of a guest that asked two key servers", () => {
  const events = [
    ...boot,
    event("os-image-hash", new Uint8Array(32).fill(4)),
    event("os-image-hash", new Uint8Array(32).fill(5)),
  ];
  assert.deepEqual(readBootClaims(events).osImageHash, new Uint8Array(32).fill(4));
});

// DS #554, DS #1268: identities have exact lengths, nothing is padded.
test("refuses identities of another length", () => {
  for (const length of [19, 21]) {
    refuses("event-invalid", () =>
      readBootClaims(boot.map((item) => (item.event === "app-id" ? event("app-id", new Uint8Array(length)) : item))),
    );
  }
  refuses("event-invalid", () =>
    readBootClaims(
      boot.map((item) => (item.event === "compose-hash" ? event("compose-hash", new Uint8Array(31)) : item)),
    ),
  );
  assert.equal(
    readBootClaims(boot.map((item) => (item.event === "instance-id" ? event("instance-id") : item))).instanceId.length,
    0,
  );
});

test("refuses quotes that are cut short, of unknown version or of mismatched kind", () => {
  refuses("quote-malformed", () => parseQuote(Uint8Array.of(4, 0)));
  refuses("quote-unsupported", () => parseQuote(concatBytes(Uint8Array.of(6, 0), new Uint8Array(600))));
  const header = concatBytes(Uint8Array.of(4, 0, 2, 0, 0x81, 0, 0, 0), new Uint8Array(40 + 584));
  refuses("quote-malformed", () => parseQuote(concatBytes(header, u32le(0xffff_ffff))));
  const v5 = concatBytes(
    Uint8Array.of(5, 0, 2, 0, 0x81, 0, 0, 0),
    new Uint8Array(40),
    Uint8Array.of(1, 0),
    u32le(384),
    new Uint8Array(384),
  );
  refuses("quote-malformed", () => parseQuote(v5));
});

// DS #878 class: one byte more than the format is refused.
test("refuses trailing bytes after an attestation of either form", () => {
  for (const bytes of [encodeAttestationV0(attestation), encodeAttestationV1(attestation)]) {
    assert.deepEqual(decodeAttestation(bytes).runtimeEvents, attestation.runtimeEvents);
    refuses("attestation-malformed", () => decodeAttestation(concatBytes(bytes, Uint8Array.of(0))));
    refuses("attestation-malformed", () => decodeAttestation(bytes.subarray(0, -1)));
  }
  refuses("attestation-malformed", () => decodeAttestation(none));
  refuses("attestation-malformed", () => decodeAttestation(Uint8Array.of(0x7b)));
});

// DS #567: a count is held against the bytes there before anything is allocated.
test("refuses a list that claims more items than there are bytes", () => {
  const bytes = concatBytes(Uint8Array.of(0, 0, 0), Uint8Array.of(0xfe, 0xff, 0xff, 0xff), new Uint8Array(100));
  refuses("attestation-malformed", () => decodeAttestation(bytes));
});

test("refuses a SCALE length that is not in its shortest form", () => {
  const bytes = encodeAttestationV0(attestation);
  assert.equal(bytes[2], 3 << 2);
  refuses("attestation-malformed", () =>
    decodeAttestation(concatBytes(bytes.subarray(0, 2), Uint8Array.of((3 << 2) | 1, 0), bytes.subarray(3))),
  );
});

test("carries V2 events only in version 1", () => {
  const v2: Attestation = { ...attestation, runtimeEvents: [{ event: "a", payload: none, version: 2 }] };
  refuses("attestation-unencodable", () => encodeAttestationV0(v2));
  assert.deepEqual(decodeAttestation(encodeAttestation(v2)).runtimeEvents, v2.runtimeEvents);
});

test("refuses a report data payload that the report data does not hold", () => {
  const good: Attestation = {
    ...attestation,
    reportData: reportDataFor("app-data", utf8("hello")),
    reportDataPayload: "hello",
  };
  assert.equal(decodeAttestation(encodeAttestation(good)).reportDataPayload, "hello");
  refuses("attestation-malformed", () => decodeAttestation(encodeAttestation({ ...good, reportDataPayload: "other" })));
});

test("refuses app info of the wrong shape", () => {
  for (const hex of [
    "90",
    "97c400c400c400c400c400c400c400",
    "c0",
    "98c400c400c400c400c400c400c400c400",
    "98a161a161a161a161a161a161a161a161",
  ]) {
    refuses("app-info-malformed", () => decodeAppInfo(Uint8Array.from(Buffer.from(hex, "hex"))));
  }
});

test("refuses an OS image hash that is not 32 bytes, and reads none as none", () => {
  assert.equal(osImageHashOf("").length, 0);
  assert.equal(osImageHashOf('{"os_image_hash":""}').length, 0);
  refuses("vm-config-malformed", () => osImageHashOf('{"os_image_hash":"ab"}'));
  refuses("vm-config-malformed", () => osImageHashOf("nonsense"));
  refuses("event-invalid", () => parseKeyProviderInfo(utf8('{"name":"kms"}')));
});

// DS #0a: the built-in root is the one with the published hash; a file names exactly one root.
test("pins Intel's root and takes exactly one certificate as another root", () => {
  assert.equal(intelTrustAnchor().kind, "intel");
  refuses("trust-anchor-invalid", () => trustAnchorFromPem("nothing"));
  refuses("trust-anchor-invalid", () =>
    trustAnchorFromPem("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
  );
});

test("refuses collateral with a missing document", () => {
  refuses("collateral-malformed", () => collateralFromJson({}));
  refuses("collateral-malformed", () => collateralFromJson(undefined));
});

test("merges the status of parts as Intel does", () => {
  assert.equal(mergeTcbStatus("UpToDate", "OutOfDate"), "OutOfDate");
  assert.equal(mergeTcbStatus("ConfigurationNeeded", "OutOfDate"), "OutOfDateConfigurationNeeded");
  assert.equal(mergeTcbStatus("SWHardeningNeeded", "UpToDate"), "SWHardeningNeeded");
  assert.equal(mergeTcbStatus("OutOfDate", "Revoked"), "Revoked");
});
