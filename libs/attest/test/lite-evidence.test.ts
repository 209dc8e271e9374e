/** Boot events of both versions in evidence without firmware payloads, as released guests write it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import { parseHex, toHex, utf8 } from "@dstack/bytes";
import {
  collateralFromJson,
  decodeAttestation,
  decodeRuntimeEvents,
  encodeAttestation,
  runtimeEntries,
  trustAnchorFromPem,
  type AppInfo,
  type Attestation,
} from "@dstack/attest";
import { fixedCollateral, verifyAttestation } from "@dstack/attest/node";
import { recordedVectors } from "../../../tests/vectors/vector-sets.ts";
import { attestationOf, boot, refuses } from "./fixtures.ts";

interface Entry {
  preimage?: unknown;
}

const v2Events = boot.map((event) => ({ ...event, version: 2 as const }));
const base = attestationOf(v2Events);
const versioned: Attestation = { ...base, platform: { ...base.platform, eventLog: runtimeEntries(v2Events) } };

/** An attestation whose first log entry has another `preimage` on the wire. */
function withPreimage(preimage: unknown): Uint8Array {
  const document = decode(encodeAttestation(versioned)) as { platform: { data: { event_log: Entry[] } } };
  document.platform.data.event_log[0]!.preimage = preimage;
  return encode(document);
}

test("writes the preimage of an event as hex text", () => {
  const { platform } = decode(encodeAttestation(versioned)) as { platform: { data: { event_log: Entry[] } } };
  const preimages = versioned.platform.eventLog.map((entry) => toHex(entry.preimage!));
  assert.deepEqual(
    platform.data.event_log.map((entry) => entry.preimage),
    preimages,
  );
});

test("reads a preimage as hex text, as bytes and as an array of numbers, to the same value", () => {
  const preimage = versioned.platform.eventLog[0]!.preimage!;
  for (const form of [toHex(preimage), preimage, [...preimage]])
    assert.deepEqual(decodeAttestation(withPreimage(form)), versioned);
});

test("refuses a preimage whose text is no hex, and one that is neither text nor bytes", () => {
  for (const [form, reason] of [
    ["7b2", /preimage: odd number of hex digits/],
    ["zz", /preimage: not hexadecimal/],
    [7, /preimage: marker 0x07, expected bytes/],
    [null, /preimage: marker 0xc0, expected bytes/],
  ] as const)
    assert.match(
      refuses("attestation-malformed", () => decodeAttestation(withPreimage(form))),
      reason,
    );
});

test("believes a preimage in text no more than one in bytes", () => {
  for (const form of [toHex(utf8("{}")), utf8("{}")]) {
    const { platform } = decodeAttestation(withPreimage(form));
    refuses("event-digest-mismatch", () => decodeRuntimeEvents(platform.eventLog));
  }
});

if (recordedVectors !== undefined) {
  const { text } = recordedVectors;
  const folder = "attestation/rust";
  const rootPem = text(`${folder}/tdx-root-ca.pem`);
  const collateralSource = fixedCollateral(collateralFromJson(JSON.parse(text(`${folder}/collateral.json`))));
  const now = Date.parse("2026-11-30T00:00:00Z") / 1000;
  const verify = async (name: string): Promise<AppInfo> => {
    const attestation = decodeAttestation(parseHex(text(`${folder}/${name}.hex`).trim()));
    const result = await verifyAttestation(attestation, {
      now,
      trustAnchor: trustAnchorFromPem(rootPem),
      collateralSource,
    });
    assert.ok(result.ok, result.ok ? "" : result.reason);
    return result.appInfo;
  };

  for (const name of ["no-preimage", "preimage-text", "preimage-bin"])
    test(`calls recorded evidence with boot events of version 2 valid: ${name}`, async () => {
      const { mrAggregated: _, ...info } = await verify(`lite-events-v2-${name}`);
      const { mrAggregated: __, ...asV1 } = await verify("lite-events-v1");
      assert.deepEqual(info, asV1);
    });

  test("writes recorded evidence back as the released guest wrote it, from either form", () => {
    const written = text(`${folder}/lite-events-v2-preimage-text.hex`).trim();
    for (const form of ["text", "bin"]) {
      const read = decodeAttestation(parseHex(text(`${folder}/lite-events-v2-preimage-${form}.hex`).trim()));
      assert.equal(toHex(encodeAttestation(read)), written);
    }
  });
}
