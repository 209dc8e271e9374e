import { appId, hash32, hash48, parseHex, reportData, toHex, utf8 } from "@dstack/bytes";
import {
  customReportData,
  decodeAppInfo,
  encodeAppInfo,
  encodeAttestationV0,
  encodeAttestationV1,
  eventDigestV1,
  eventDigestV2,
  eventPreimage,
  KEY_PROVIDER_KINDS,
  mrAggregated,
  mrConfigIdV1,
  mrConfigIdV2,
  mrConfigIdV3,
  mrSystem,
  parseCcel,
  replayDigests,
  reportDataFor,
  runtimeEntries,
  type Attestation,
  type RuntimeEvent,
  type TdReport,
} from "@dstack/attest";
import { buildCcel, measureVm } from "@dstack/measure";
import { mockKey, parseSeed, type MockKeyLabel } from "@dstack/tee-simulator";
import { files, vmConfig } from "../../libs/measure/test/fixtures.ts";
import type { Vectors } from "./vectors.ts";

const fill = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
const COMPOSE = hash32(Uint8Array.from({ length: 32 }, (_, i) => i));
const APP = appId(Uint8Array.from({ length: 20 }, (_, i) => 0xe0 + i));
const DOCUMENT = '{"app_id":"00","version":3}';

/** The formulas behind evidence, both encodings of an attestation, an event log of the firmware. */
export function attestationVectors(): Vectors {
  return {
    "attestation/vectors.json": {
      report_data: reportDataRows(),
      events: [
        ["system-preparing", ""],
        ["own-event", "00ff"],
        ['with "quotes" and ü', "7b7d"],
      ].map(([event = "", payload_hex = ""]) => eventRow(event, payload_hex)),
      mr_config_id: mrConfigRows(),
      rtmr_extend_chain: extendChain(),
      mr: measurementRegisters(),
      attestation_encoding: encodings(),
      app_info_msgpack: appInfoForms(),
      mock_keys: ["tdx-root", "tdx-pck-ca", "tdx-pck", "tdx-tcb", "tdx-qe"].map((label) => {
        const seed = "07".repeat(32);
        const key = mockKey(parseSeed(seed), label as MockKeyLabel);
        return { seed, label, private: toHex(key.scalar), public: toHex(key.publicPoint) };
      }),
    },
    ...ccel(),
  };
}

function reportDataRows(): object[] {
  const hashes = ["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512", "keccak256", "keccak384"];
  const rows = [...hashes, "keccak512"].map((hash) => ({ tag: "app-data", content_utf8: "own words", hash }));
  return [...rows, { tag: "own-tag", content_utf8: "", hash: "sha512" }]
    .map((row) => ({ ...row, report_data: toHex(customReportData(row.tag, utf8(row.content_utf8), row.hash)) }))
    .concat(
      (["ratls-cert", "kms-root-ca"] as const).map((tag) => ({
        tag,
        content_utf8: "a public key",
        hash: "sha512",
        report_data: toHex(reportDataFor(tag, utf8("a public key"))),
      })),
    );
}

function eventRow(event: string, payload_hex: string): object {
  const payload = parseHex(payload_hex);
  return {
    event,
    payload_hex,
    v1_digest: toHex(eventDigestV1(event, payload)),
    v2_preimage: new TextDecoder().decode(eventPreimage({ event, payload, version: 2 })),
    v2_digest: toHex(eventDigestV2(event, payload)),
  };
}

function mrConfigRows(): object[] {
  const common = { compose_hash: toHex(COMPOSE), app_id: toHex(APP), kind: 0, key_provider_id: "", document: "" };
  const kinds = KEY_PROVIDER_KINDS.map((_, kind) => kind);
  return [
    { ...common, version: 1, mr_config_id: toHex(mrConfigIdV1(COMPOSE)) },
    ...kinds.map((kind) => ({
      ...common,
      version: 2,
      kind,
      key_provider_id: "aabb",
      mr_config_id: toHex(mrConfigIdV2(COMPOSE, APP, KEY_PROVIDER_KINDS[kind] ?? "none", parseHex("aabb"))),
    })),
    { ...common, version: 3, document: DOCUMENT, mr_config_id: toHex(mrConfigIdV3(DOCUMENT)) },
  ];
}

function extendChain(): object {
  const digests = [1, 2, 3].map((byte) => hash48(fill(48, byte)));
  return {
    digests: digests.map(toHex),
    after_each: digests.map((_, index) => toHex(replayDigests(digests.slice(0, index + 1)))),
  };
}

function measurementRegisters(): object {
  const zero = hash48(fill(48, 0));
  const rtmr = [0xa0, 0xa1, 0xa2, 0xa3].map((byte) => hash48(fill(48, byte)));
  const report = {
    mrTd: hash48(fill(48, 0x0d)),
    rtmr,
    mrConfigId: zero,
    mrOwner: zero,
    mrOwnerConfig: zero,
  } as unknown as TdReport;
  const provider = '{"name":"own","id":"00"}';
  const bound = mrConfigIdV1(COMPOSE);
  return {
    mr_td: toHex(report.mrTd),
    rtmr: rtmr.map(toHex),
    key_provider_info: provider,
    mr_system: toHex(mrSystem(report, utf8(provider))),
    mr_system_no_provider: toHex(mrSystem(report, new Uint8Array(0))),
    mr_aggregated_zero_config: toHex(mrAggregated(report, rtmr[3] ?? zero)),
    mr_aggregated_with_config: {
      mr_config_id: toHex(bound),
      value: toHex(mrAggregated({ ...report, mrConfigId: bound }, rtmr[3] ?? zero)),
    },
  };
}

function encodings(): object {
  const runtimeEvents: RuntimeEvent[] = [
    { event: "app-id", payload: APP },
    { event: "own-event", payload: fill(300, 7) },
  ];
  const attestation: Attestation = {
    platform: { kind: "tdx", quote: fill(70, 0xc4), eventLog: runtimeEntries(runtimeEvents) },
    runtimeEvents,
    reportData: reportData(fill(64, 0x99)),
    config: '{"own":true}',
  };
  return {
    v0_scale_hex: toHex(encodeAttestationV0(attestation)),
    v1_msgpack_hex: toHex(encodeAttestationV1(attestation)),
    config: attestation.config,
    quote_hex: toHex(attestation.platform.quote),
  };
}

/** The two forms: eight items in their order, and a map of the names with the same items. */
function appInfoForms(): object {
  const fields = {
    app_id: "a0",
    compose_hash: "b0b1",
    instance_id: "",
    device_id: "d0d1d2",
    mr_system: "50".repeat(32),
    mr_aggregated: "60".repeat(32),
    os_image_hash: "e0",
    key_provider_info: "7b7d",
  };
  const items = Object.entries(fields).map(([name, hex]) => [name, `c4${sizeOf(hex)}${hex}`] as const);
  const positional = `98${items.map(([, item]) => item).join("")}`;
  const named = `88${items.map(([name, item]) => `${textItem(name)}${item}`).join("")}`;
  if (toHex(encodeAppInfo(decodeAppInfo(parseHex(named)))) !== positional) throw new Error("the two forms differ");
  return { fields, positional_8_hex: positional, named_map_hex: named };
}

const sizeOf = (hex: string): string => (hex.length / 2).toString(16).padStart(2, "0");
const textItem = (text: string): string => `${(0xa0 + text.length).toString(16)}${toHex(utf8(text))}`;

/** Events in the order of the log, which is that in which they were measured, not that of the registers. */
function ccel(): Vectors {
  const { events, rtmr0, rtmr1 } = measureVm(files(), vmConfig());
  const area = buildCcel({ ...events, imr2: [] });
  const logged = parseCcel(area);
  return {
    "attestation/ccel/ccel.bin": area,
    "attestation/ccel/ccel.expected.json": {
      count: events.imr0.length + events.imr1.length,
      events: logged.map(({ imr, eventType, digest, eventPayload }) => ({
        imr,
        event_type: eventType,
        digest: toHex(digest),
        event_payload: toHex(eventPayload),
      })),
      replayed: [toHex(rtmr0), toHex(rtmr1)],
    },
  };
}
