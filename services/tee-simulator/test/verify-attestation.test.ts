import assert from "node:assert/strict";
import { test } from "node:test";
import { hash48, reportData, utf8 } from "@dstack/bytes";
import {
  AttestError,
  encodeKeyProviderInfo,
  firstFailure,
  mrConfigIdV1,
  mrConfigIdV2,
  mrConfigIdV3,
  readBootClaims,
  replayRtmr3,
  reportDataFor,
  runtimeEntries,
  trustAnchorFromPem,
} from "@dstack/attest";
import type { Attestation, RuntimeEvent } from "@dstack/attest";
import { fixedCollateral, verifyAttestation, verifyQuote } from "@dstack/attest/node";
import type { AttestationVerification, VerifyAttestationOptions } from "@dstack/attest/node";
import { mockCollateral, mockPki, parseSeed, signMockQuote } from "@dstack/tee-simulator";
import type { TdMeasurements } from "@dstack/tee-simulator";

const now = Date.UTC(2030, 5, 15) / 1000;
const pki = mockPki(parseSeed("5a".repeat(32)));
const trustAnchor = trustAnchorFromPem(pki.rootPem);
const collateral = mockCollateral(pki, now);
const options: VerifyAttestationOptions = { collateralSource: fixedCollateral(collateral), now, trustAnchor };

const none = new Uint8Array(0);
const boot: readonly RuntimeEvent[] = [
  { event: "system-preparing", payload: none },
  { event: "app-id", payload: new Uint8Array(20).fill(1) },
  { event: "compose-hash", payload: new Uint8Array(32).fill(2) },
  { event: "instance-id", payload: new Uint8Array(20).fill(3) },
  { event: "boot-mr-done", payload: none },
  { event: "key-provider", payload: encodeKeyProviderInfo({ name: "kms", id: "3059" }) },
];
const claims = readBootClaims(boot);
const register = (byte: number) => hash48(new Uint8Array(48).fill(byte));
const data = reportDataFor("ratls-cert", utf8("a key"));

function evidence(change: { td?: Partial<TdMeasurements>; events?: readonly RuntimeEvent[] } = {}): Attestation {
  const runtimeEvents = change.events ?? boot;
  const td: TdMeasurements = {
    mrTd: register(1),
    rtmr: [register(2), register(3), register(4), replayRtmr3(runtimeEvents)],
    mrConfigId: register(0),
    ...change.td,
  };
  return {
    platform: { kind: "tdx", quote: signMockQuote(pki, td, data), eventLog: runtimeEntries(runtimeEvents) },
    runtimeEvents,
    reportData: data,
    config: "{}",
  };
}

const resultOf = (verification: AttestationVerification, name: string): string | undefined =>
  verification.checks.find((check) => check.name === name)?.result;

test("accepts evidence whose every part fits", async () => {
  const verification = await verifyAttestation(evidence(), { ...options, expectedReportData: data });
  assert.ok(verification.ok, verification.ok ? "" : verification.reason);
  assert.deepEqual(verification.appInfo.appId, claims.appId);
  assert.equal(resultOf(verification, "report-data"), "pass");
  assert.equal(resultOf(verification, "service-td"), "not applicable");
});

test("says that report data is not bound where nothing is expected", async () => {
  const verification = await verifyAttestation(evidence(), options);
  assert.equal(resultOf(verification, "report-data"), "not bound");
});

test("refuses report data that is not the expected one, or not the quoted one", async () => {
  const other = reportData(new Uint8Array(64));
  const unexpected = await verifyAttestation(evidence(), { ...options, expectedReportData: other });
  assert.equal(resultOf(unexpected, "report-data"), "fail");
  assert.equal(unexpected.ok, false);
  const unquoted = await verifyAttestation(
    { ...evidence(), reportData: other },
    { ...options, expectedReportData: other },
  );
  assert.equal(resultOf(unquoted, "report-data"), "fail");
});

test("refuses events that do not replay to the quoted RTMR3", async () => {
  const events = boot.map((event) =>
    event.event === "compose-hash" ? { ...event, payload: new Uint8Array(32).fill(9) } : event,
  );
  const good = evidence();
  const swapped = { ...good, runtimeEvents: events, platform: { ...good.platform, eventLog: runtimeEntries(events) } };
  for (const attestation of [swapped, { ...good, runtimeEvents: boot.slice(0, -1) }]) {
    const verification = await verifyAttestation(attestation, options);
    assert.equal(resultOf(verification, "rtmr3-replay"), "fail");
    assert.equal(verification.ok, false);
  }
});

// DS #1294: what is shown as the event log is what was replayed.
test("refuses a log beside the quote that tells other events than those replayed", async () => {
  const good = evidence();
  const lookalike = runtimeEntries(
    boot.map((event) => (event.event === "app-id" ? { ...event, payload: new Uint8Array(20).fill(8) } : event)),
  );
  const verification = await verifyAttestation(
    { ...good, platform: { ...good.platform, eventLog: lookalike } },
    options,
  );
  assert.equal(resultOf(verification, "event-log"), "fail");
});

test("refuses evidence without an app identity or with one given twice", async () => {
  const twice = evidence({ events: [...boot, { event: "app-id", payload: new Uint8Array(20).fill(7) }] });
  for (const attestation of [twice, evidence({ events: boot.slice(0, 1) })]) {
    assert.equal(resultOf(await verifyAttestation(attestation, options), "app-identity"), "fail");
  }
});

// DS #559: an unset MRCONFIGID is accepted, and said.
test("judges MRCONFIGID in each of its versions", async () => {
  const document = `{"version":3,"compose_hash":"${"02".repeat(32)}","key_provider":"kms"}`;
  const cases: readonly (readonly [Partial<TdMeasurements>, string, string?])[] = [
    [{}, "not bound"],
    [{ mrConfigId: mrConfigIdV1(claims.composeHash) }, "pass"],
    [{ mrConfigId: mrConfigIdV1(new Uint8Array(32).fill(9) as typeof claims.composeHash) }, "fail"],
    [{ mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", Uint8Array.of(0x30, 0x59)) }, "pass"],
    [{ mrConfigId: mrConfigIdV2(claims.composeHash, claims.appId, "kms", Uint8Array.of(1)) }, "fail"],
    [{ mrConfigId: mrConfigIdV3(document) }, "not bound"],
    [{ mrConfigId: mrConfigIdV3(document) }, "pass", document],
    [{ mrConfigId: mrConfigIdV3(document) }, "fail", document.replace("kms", "none")],
    [{ mrConfigId: register(9) }, "fail"],
  ];
  for (const [td, expected, mrConfig] of cases) {
    const verification = await verifyAttestation(evidence({ td }), {
      ...options,
      ...(mrConfig === undefined ? {} : { mrConfig }),
    });
    assert.equal(resultOf(verification, "mr-config-id"), expected);
  }
});

// Audit row 06: every bit of the debug group refuses, and so does every reserved one.
test("refuses each TD attribute bit that is not allowed", () => {
  const { quote } = evidence().platform;
  for (let bit = 0; bit < 64; bit++) {
    const changed = quote.slice();
    changed[168 + (bit >> 3)]! ^= 1 << (bit & 7);
    const verification = verifyQuote(changed, collateral, options);
    const allowed = bit === 30 || bit === 31;
    assert.equal(
      verification.checks.find((check) => check.name === "td-attributes")?.result,
      allowed ? "pass" : "fail",
      `bit ${bit}`,
    );
    assert.equal(verification.ok, false, "the signature no longer holds");
  }
});

test("refuses a quote with any one byte changed up to its certification data", () => {
  const { quote } = evidence().platform;
  for (let offset = 0; offset < 632 + 4 + 128 + 6 + 384 + 64; offset += 13) {
    const changed = quote.slice();
    changed[offset]! ^= 0x10;
    assert.equal(verifyQuote(changed, collateral, options).ok, false, `offset ${offset}`);
  }
});

test("refuses collateral that is stale, not yet valid, or signed by nobody", () => {
  const { quote } = evidence().platform;
  const at = (time: number) => firstFailure(verifyQuote(quote, collateral, { now: time, trustAnchor }).checks) ?? "";
  assert.match(at(now + 31 * 86_400), /^collateral-fresh: TCB info expired/);
  assert.match(at(now - 2 * 86_400), /^collateral-fresh: TCB info is valid only from/);
  const changes = [
    { tcbInfo: collateral.tcbInfo.replace('"tcbType":0', '"tcbType":1') },
    { qeIdentity: collateral.qeIdentity.replace('"tcbEvaluationDataNumber":1', '"tcbEvaluationDataNumber":2') },
    { tcbInfoIssuerChain: pki.qeChainPem },
    // A platform's own chain ends in the same root and still may not sign TCB info.
    { tcbInfoIssuerChain: pki.pckChainPem },
    { pckCrl: pki.rootCrl },
    { rootCaCrl: pki.pckCrl },
    { pckCrlIssuerChain: pki.tcbChainPem },
  ];
  for (const change of changes) {
    assert.equal(
      verifyQuote(quote, { ...collateral, ...change }, options).ok,
      false,
      JSON.stringify(Object.keys(change)),
    );
  }
});

test("gives the reason where collateral cannot be had", async () => {
  const collateralSource = {
    collateralFor: () =>
      Promise.reject(new AttestError("collateral-unavailable", "collateral server 127.0.0.1: connection refused")),
  };
  const verification = await verifyAttestation(evidence(), { ...options, collateralSource });
  assert.equal(
    verification.ok ? "" : verification.reason,
    "collateral: collateral server 127.0.0.1: connection refused",
  );
});
