import assert from "node:assert/strict";
import { appId, hash32, hash48, parseHex, toHex, utf8 } from "@dstack/bytes";
import {
  AttestError,
  appInfo,
  attestationFromQuote,
  customReportData,
  decodeAppInfo,
  decodeAttestation,
  decodeRuntimeEvents,
  encodeAppInfo,
  encodeAttestation,
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
  parseEventLogJson,
  parseQuote,
  replayDigests,
  replayFirmwareRegister,
  replayRtmr3,
  reportDataFor,
  stripAttestation,
  tdReportOf,
} from "@dstack/attest";
import type { Attestation, TdReport } from "@dstack/attest";
import { recordedTest, vectorTest, type VectorSet } from "../../../tests/vectors/vector-sets.ts";

interface Vectors {
  readonly report_data: {
    tag: string;
    content_utf8?: string;
    content_hex?: string;
    hash: string;
    report_data: string;
  }[];
  readonly events: { event: string; payload_hex: string; v1_digest: string; v2_preimage: string; v2_digest: string }[];
  readonly mr_config_id: {
    version: number;
    compose_hash: string;
    app_id: string;
    kind: number;
    key_provider_id: string;
    document: string;
    mr_config_id: string;
  }[];
  readonly rtmr_extend_chain: { digests: string[]; after_each: string[] };
  readonly mr: {
    mr_td: string;
    rtmr: string[];
    key_provider_info: string;
    mr_system: string;
    mr_system_no_provider: string;
    mr_aggregated_zero_config: string;
    mr_aggregated_with_config: { mr_config_id: string; value: string };
  };
  readonly attestation_encoding: { v0_scale_hex: string; v1_msgpack_hex: string; config: string; quote_hex: string };
  readonly app_info_msgpack: { fields: Record<string, string>; positional_8_hex: string; named_map_hex: string };
}
const FORMULAS = "attestation/vectors.json";
const formulas = ({ json }: VectorSet): Vectors => json<Vectors>(FORMULAS);

vectorTest("hashes report data as the vectors say, for every hash", FORMULAS, (set) => {
  for (const row of formulas(set).report_data) {
    const content = row.content_hex === undefined ? utf8(row.content_utf8 ?? "") : parseHex(row.content_hex);
    const value =
      row.tag === "ratls-cert" || row.tag === "kms-root-ca"
        ? reportDataFor(row.tag, content)
        : customReportData(row.tag, content, row.hash);
    assert.equal(toHex(value), row.report_data, `${row.tag} ${row.hash}`);
  }
});

vectorTest("digests runtime events as the vectors say, both versions", FORMULAS, (set) => {
  for (const row of formulas(set).events) {
    const payload = parseHex(row.payload_hex);
    assert.equal(toHex(eventDigestV1(row.event, payload)), row.v1_digest);
    assert.equal(toHex(eventDigestV2(row.event, payload)), row.v2_digest);
    assert.deepEqual(eventPreimage({ event: row.event, payload, version: 2 }), utf8(row.v2_preimage));
  }
});

vectorTest("extends a register as the vectors say", FORMULAS, (set) => {
  const { digests, after_each: after } = formulas(set).rtmr_extend_chain;
  for (const index of digests.keys()) {
    assert.equal(
      toHex(replayDigests(digests.slice(0, index + 1).map((digest) => hash48(parseHex(digest))))),
      after[index],
    );
  }
});

vectorTest("computes MRCONFIGID of each version as the vectors say", FORMULAS, (set) => {
  for (const row of formulas(set).mr_config_id) {
    const value =
      row.version === 1
        ? mrConfigIdV1(hash32(parseHex(row.compose_hash)))
        : row.version === 2
          ? mrConfigIdV2(
              hash32(parseHex(row.compose_hash)),
              appId(parseHex(row.app_id)),
              KEY_PROVIDER_KINDS[row.kind] ?? "none",
              parseHex(row.key_provider_id),
            )
          : mrConfigIdV3(row.document);
    assert.equal(toHex(value), row.mr_config_id);
  }
});

vectorTest("computes mr_system and mr_aggregated as the vectors say", FORMULAS, (set) => {
  const { mr } = formulas(set);
  const [r0, r1, r2, r3] = mr.rtmr.map((hex) => hash48(parseHex(hex)));
  assert.ok(r0 && r1 && r2 && r3);
  const zero = hash48(new Uint8Array(48));
  const report = {
    mrTd: hash48(parseHex(mr.mr_td)),
    rtmr: [r0, r1, r2, r3],
    mrConfigId: zero,
    mrOwner: zero,
    mrOwnerConfig: zero,
  } as unknown as TdReport;
  assert.equal(toHex(mrSystem(report, utf8(mr.key_provider_info))), mr.mr_system);
  assert.equal(toHex(mrSystem(report, new Uint8Array(0))), mr.mr_system_no_provider);
  assert.equal(toHex(mrAggregated(report, r3)), mr.mr_aggregated_zero_config);
  const bound = { ...report, mrConfigId: hash48(parseHex(mr.mr_aggregated_with_config.mr_config_id)) };
  assert.equal(toHex(mrAggregated(bound, r3)), mr.mr_aggregated_with_config.value);
});

vectorTest("reads and writes both encodings of an attestation as the vectors say", FORMULAS, (set) => {
  const { v0_scale_hex: v0, v1_msgpack_hex: v1, config, quote_hex: quote } = formulas(set).attestation_encoding;
  const first = decodeAttestation(parseHex(v0));
  const second = decodeAttestation(parseHex(v1));
  assert.deepEqual(first, second);
  assert.equal(first.config, config);
  assert.equal(toHex(first.platform.quote), quote);
  assert.equal(toHex(encodeAttestationV0(second)), v0);
  assert.equal(toHex(encodeAttestationV1(first)), v1);
  assert.equal(toHex(encodeAttestation(first)), v0);
});

vectorTest("reads app info in each form and writes eight items", FORMULAS, (set) => {
  const { fields, positional_8_hex: positional, named_map_hex: named } = formulas(set).app_info_msgpack;
  const info = decodeAppInfo(parseHex(positional));
  assert.deepEqual(decodeAppInfo(parseHex(named)), info);
  assert.equal(toHex(info.appId), fields["app_id"]);
  assert.equal(toHex(info.keyProviderInfo), fields["key_provider_info"]);
  assert.equal(toHex(encodeAppInfo(info)), positional);
  const nine = decodeAppInfo(parseHex(`99${positional.slice(2)}91c420${"aa".repeat(32)}`));
  assert.deepEqual(nine.initScriptHashes, [new Uint8Array(32).fill(0xaa)]);
  assert.equal(decodeAppInfo(parseHex(`99${positional.slice(2)}c0`)).initScriptHashes, undefined);
});

vectorTest("reads a CCEL and replays it to its registers", "attestation/ccel", ({ bytes, json }) => {
  const expected = json<{
    count: number;
    events: { imr: number; event_type: number; digest: string; event_payload: string }[];
    replayed: string[];
  }>("attestation/ccel/ccel.expected.json");
  const entries = parseCcel(bytes("attestation/ccel/ccel.bin"));
  assert.equal(entries.length, expected.count);
  for (const [index, event] of expected.events.entries()) {
    const entry = entries[index];
    assert.ok(entry);
    assert.deepEqual(
      [entry.imr, entry.eventType, toHex(entry.digest), toHex(entry.eventPayload)],
      [event.imr, event.event_type, event.digest, event.event_payload],
    );
  }
  assert.equal(toHex(replayFirmwareRegister(entries, 0) ?? new Uint8Array(0)), expected.replayed[0]);
  assert.equal(toHex(replayFirmwareRegister(entries, 1) ?? new Uint8Array(0)), expected.replayed[1]);
  assert.equal(replayFirmwareRegister(entries, 2), undefined);
});

recordedTest("reads a real attestation, writes it back byte for byte and derives the recorded values", (set) => {
  const bytes = set.bytes("attestation/simulator/attestation.bin");
  const attestation = decodeAttestation(bytes);
  assert.deepEqual(encodeAttestation(attestation), bytes);
  assert.deepEqual(encodeAttestation(decodeAttestation(encodeAttestationV1(attestation))), bytes);
  const report = tdReportOf(parseQuote(attestation.platform.quote));
  assert.deepEqual(replayRtmr3(attestation.runtimeEvents), report.rtmr[3]);

  const vmConfig = '{"os_image_hash":"e61be43dd1cc6a6f5edefd7c51b608983780839b0000ce60dd99737dcffe09b9"}';
  const verified = { ppid: parseHex("80d4a149124353c7a2bb76551603f31b") };
  const runtime = appInfo({ attestation, verified, vmConfig });
  const boottime = appInfo({ attestation, boottime: true });
  assert.deepEqual(
    {
      appId: toHex(runtime.appId),
      composeHash: toHex(runtime.composeHash),
      instanceId: toHex(runtime.instanceId),
      deviceId: toHex(runtime.deviceId),
      legacy: toHex(runtime.deviceIdLegacy),
      image: toHex(runtime.osImageHash),
      system: [toHex(runtime.mrSystem), toHex(boottime.mrSystem)],
      aggregated: [toHex(runtime.mrAggregated), toHex(boottime.mrAggregated)],
      unverified: toHex(boottime.deviceId),
      noImage: toHex(boottime.osImageHash),
      noProvider: toHex(boottime.keyProviderInfo),
    },
    {
      appId: "5bb4ff9a3837357f19dc176407a5709c62eb6c56",
      composeHash: "c143116fef3940e7f776bfc0919c256232ae5338a6e948c96b711e0b2383483a",
      instanceId: "1691ed1b47506cad7d08834668691d88246f5b1f",
      deviceId: "c07347d88ac7ef3d42d02ceb80a0e3ac66981cf7382f72d0692ec591ea58cf1f",
      legacy: "0f344befc7b8349f335507c561d34d09b4466cf77cbc4ce7516a081b77f91ed2",
      image: "e61be43dd1cc6a6f5edefd7c51b608983780839b0000ce60dd99737dcffe09b9",
      system: [
        "51ea38f8eee6dc72dbae9b74531ae6d6204295d265dabb4e6c34621a2a1a1197",
        "ef6af583432288c877e412740aa7d8a844a18920ad98e9b1d95d42a07a3044c8",
      ],
      aggregated: [
        "85334a62c97d0f8bf82d0245d31b539d17a2d7c258e2a13efc928aaea0e107cb",
        "787f9fe525fcb61e81f31a30225a86674412088f2f1b683a421a7e9cbcd40551",
      ],
      unverified: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      noImage: "",
      noProvider: "",
    },
  );
});

vectorTest("strips an attestation without losing what verification needs", "guest/simulator-0.6", ({ bytes }) => {
  const attestation = decodeAttestation(bytes("guest/simulator-0.6/attestation.bin"));
  const stripped = stripAttestation(attestation);
  assert.ok(encodeAttestation(stripped).length < encodeAttestation(attestation).length);
  assert.deepEqual(decodeRuntimeEvents(stripped.platform.eventLog), attestation.runtimeEvents);
  assert.deepEqual(
    stripped.platform.eventLog.filter((entry) => entry.imr !== 3).map((entry) => entry.event),
    ["acpi-loader", "acpi-rsdp", "acpi-tables"],
  );
  assert.ok(decodeRuntimeEvents(stripped.platform.eventLog).length > 0);
});

recordedTest(
  "replays the logs of real CVMs to their quoted registers and derives the recorded values",
  async ({ bytes, json }, t) => {
    interface Pair {
      id: string;
      quote: string;
      event_log?: string;
      derived?: Record<string, unknown>;
      expect: { ppid: string };
    }
    for (const pair of json<Pair[]>("attestation/pairs.json").filter((row) => row.derived !== undefined)) {
      await t.test(pair.id, () => {
        const info = json<{ event_log: unknown; compose_hash: string }>(`attestation/cvm/${pair.id}/tcb_info.json`);
        const log = typeof info.event_log === "string" ? info.event_log : JSON.stringify(info.event_log);
        const attestation: Attestation = attestationFromQuote(bytes(`attestation/${pair.quote}`), log);
        const report = tdReportOf(parseQuote(attestation.platform.quote));
        assert.deepEqual(replayRtmr3(attestation.runtimeEvents), report.rtmr[3]);
        for (const imr of [0, 1, 2] as const)
          assert.deepEqual(replayFirmwareRegister(attestation.platform.eventLog, imr), report.rtmr[imr]);
        const runtime = appInfo({ attestation, verified: { ppid: parseHex(pair.expect.ppid) } });
        assert.equal(toHex(runtime.composeHash), info.compose_hash);
        assert.deepEqual(report.mrConfigId, mrConfigIdV1(runtime.composeHash));
        const expected = new Set(Object.values(pair.derived ?? {}));
        for (const value of [
          runtime.mrSystem,
          runtime.mrAggregated,
          runtime.deviceId,
          runtime.deviceIdLegacy,
          appInfo({ attestation, boottime: true }).mrAggregated,
        ]) {
          assert.ok(expected.has(toHex(value)), `${toHex(value)} in ${JSON.stringify(pair.derived)}`);
        }
      });
    }
  },
);

recordedTest("replays all four registers of a real verifier request", ({ json }) => {
  const request = json<{ quote: string; event_log: string }>("attestation/verifier/quote-report.json");
  const attestation = attestationFromQuote(parseHex(request.quote), request.event_log);
  const report = tdReportOf(parseQuote(attestation.platform.quote));
  assert.deepEqual(replayRtmr3(attestation.runtimeEvents), report.rtmr[3]);
  assert.deepEqual(
    [0, 1, 2].map((imr) => replayFirmwareRegister(parseEventLogJson(request.event_log), imr as 0 | 1 | 2)),
    report.rtmr.slice(0, 3),
  );
});

recordedTest("names the platform of an attestation that is not TDX", ({ bytes: read, json }) => {
  const snp = json<{ attestation: string }>("attestation/snp/sev-snp-attestation.json").attestation;
  for (const bytes of [read("attestation/nitro/nitro_attestation.bin"), parseHex(snp)]) {
    assert.throws(
      () => decodeAttestation(bytes),
      (error: unknown) => error instanceof AttestError && error.code === "platform-unsupported",
    );
  }
});
