import { createHash } from "node:crypto";
import { concatBytes, parseHex, reportData, toHex, utf8 } from "@dstack/bytes";
import {
  appInfo,
  decodeAttestation,
  encodeAttestation,
  encodeEventLogJson,
  parseQuote,
  replayRtmr3,
  runtimeEntries,
  tdReportOf,
  type EventLogEntry,
  type RuntimeEvent,
} from "@dstack/attest";
import { p256FromScalar, pkcs8Pem, spkiDer } from "@dstack/keys";
import { agent } from "@dstack/proto";
import { measureVm, type TcgEvent } from "@dstack/measure";
import { createCa, encodeCsrV1, encodeCsrV2, signCsr, type CsrConfig } from "@dstack/ratls";
import { mockPki, parseSeed, signMockQuote } from "@dstack/tee-simulator";
import { files, vmConfig } from "../../libs/measure/test/fixtures.ts";
import { APP_ID, appRootKey, MANIFEST } from "./guest.ts";
import type { Vectors } from "./vectors.ts";

const NOW = 1_800_000_000;
const CA_KEY = p256FromScalar(parseHex("0b".repeat(32)));
const CSR_KEY = p256FromScalar(parseHex("0d".repeat(32)));

/** What carries signatures with a random part: another run makes other bytes, so these are written when asked for. */
export function signedVectors(): Vectors {
  const attestation = simulatedAttestation();
  return {
    "guest/simulator-0.6/attestation.bin": attestation,
    "guest/simulator-0.6/appkeys.json": appKeysFile(),
    "guest/info-simulator-0.6.json": whoItIs(attestation),
    "kms/csr-scale-vectors.json": {
      signing_key_p256_scalar: toHex(CSR_KEY.scalar),
      vectors: requests(attestation),
    },
  };
}

/** Evidence of a guest of a made-up image under a development root, with the whole firmware log. */
function simulatedAttestation(): Uint8Array {
  const measured = measureVm(files(), vmConfig());
  const event = (name: string, payload: Uint8Array = new Uint8Array(0)): RuntimeEvent => ({ event: name, payload });
  const runtimeEvents = [
    event("system-preparing"),
    event("app-id", parseHex(APP_ID)),
    event("compose-hash", new Uint8Array(createHash("sha256").update(MANIFEST).digest())),
    event("instance-id", parseHex("1d".repeat(20))),
    event("boot-mr-done"),
    event("key-provider", utf8('{"name":"kms","id":"0e"}')),
    event("system-ready"),
  ];
  const report = reportData(new Uint8Array(64));
  const quote = signMockQuote(
    mockPki(parseSeed("51".repeat(32))),
    {
      mrTd: measured.mrtd,
      rtmr: [measured.rtmr0, measured.rtmr1, measured.rtmr2, replayRtmr3(runtimeEvents)],
      mrConfigId: new Uint8Array(48) as typeof measured.mrtd,
    },
    report,
  );
  const firmware = ({ imr, eventType, digest, data }: TcgEvent): EventLogEntry => ({
    imr,
    eventType,
    digest,
    event: "",
    eventPayload: data,
  });
  const { imr0, imr1, imr2 } = measured.events;
  return encodeAttestation({
    platform: {
      kind: "tdx",
      quote,
      eventLog: [...[...imr0, ...imr1, ...imr2].map(firmware), ...runtimeEntries(runtimeEvents)],
    },
    runtimeEvents,
    reportData: report,
    config: `{"os_image_hash":"${"0e".repeat(32)}"}`,
  });
}

/** What the guest's agent says of itself over this evidence. */
function whoItIs(bytes: Uint8Array): object {
  const attestation = decodeAttestation(bytes);
  const info = appInfo({ attestation });
  const report = tdReportOf(parseQuote(attestation.platform.quote));
  return {
    field_order: agent.AppInfoSchema.fields.map(({ name }) => name),
    response: {
      app_id: toHex(info.appId),
      instance_id: toHex(info.instanceId),
      device_id: toHex(info.deviceId),
      mr_aggregated: toHex(info.mrAggregated),
      key_provider_info: new TextDecoder().decode(info.keyProviderInfo),
    },
    tcb_info_parsed: {
      mrtd: toHex(report.mrTd),
      ...Object.fromEntries(report.rtmr.map((value, index) => [`rtmr${index}`, toHex(value)])),
      app_compose: new TextDecoder().decode(MANIFEST),
      event_log: JSON.parse(encodeEventLogJson(attestation.platform.eventLog)),
    },
  };
}

function appKeysFile(): object {
  const { k256Key, k256Signature } = appRootKey();
  const ca = createCa({ commonName: "Own KMS CA", key: CA_KEY, pathLength: 1, now: NOW });
  return {
    disk_crypt_key: "0d".repeat(32),
    env_crypt_key: "0e".repeat(32),
    k256_key: toHex(k256Key),
    k256_signature: toHex(k256Signature),
    gateway_app_id: "any",
    ca_cert: ca.pem,
    key_provider: { None: { key: pkcs8Pem(CA_KEY) } },
  };
}

const CONFIG: CsrConfig = {
  subject: "own.test",
  altNames: ["a.own.test", "b.own.test"],
  serverAuth: true,
  clientAuth: false,
  withEvidence: true,
  withAppInfo: false,
};

/** A configuration as the vectors write it. */
const written = (config: CsrConfig): object => ({
  org_name: config.organization ?? null,
  subject: config.subject,
  subject_alt_names: config.altNames,
  usage_server_auth: config.serverAuth,
  usage_client_auth: config.clientAuth,
  ext_quote: config.withEvidence,
  ext_app_info: config.withAppInfo,
  not_before: config.notBefore ?? null,
  not_after: config.notAfter ?? null,
});

/** Requests for certificates: of both versions, signed, forged, cut and lengthened. */
function requests(attestation: Uint8Array): object[] {
  const publicKeyInfo = spkiDer(CSR_KEY);
  const whole: CsrConfig = { ...CONFIG, organization: "Own", withAppInfo: true, notBefore: NOW, notAfter: NOW + 60 };
  const v1 = encodeCsrV1({ publicKeyInfo, config: CONFIG, quote: new Uint8Array(0), eventLogJson: "" });
  const v2 = encodeCsrV2({ publicKeyInfo, config: whole, attestation: decodeAttestation(attestation) });
  const common = { pubkey: toHex(publicKeyInfo), attestation_hex: toHex(attestation) };
  const good = (id: string, api_version: number, config: CsrConfig, scale: Uint8Array): object => ({
    id,
    api_version,
    ...common,
    config: written(config),
    scale: toHex(scale),
    signature: toHex(signCsr(scale, CSR_KEY)),
    expect: { verify: true },
  });
  const unsigned = (id: string, scale: Uint8Array, signature: Uint8Array, error_contains: string): object => ({
    id,
    api_version: 1,
    scale: toHex(scale),
    signature: toHex(signature),
    expect: { verify: false, error_contains },
  });
  const broken = (id: string, api_version: number, scale: Uint8Array): object => ({
    id,
    api_version,
    scale: toHex(scale),
    expect: { parse: false },
  });
  const otherWord = concatBytes(Uint8Array.of(17 << 2), utf8("please sign that:"), v1.subarray(18));
  return [
    good("version 1", 1, CONFIG, v1),
    good("version 2 with all there is", 2, whole, v2),
    unsigned("another word", otherWord, signCsr(otherWord, CSR_KEY), "Invalid confirm word"),
    unsigned("another key's signature", v1, signCsr(v1, CA_KEY), "Invalid signature"),
    unsigned("another request's signature", v1, signCsr(v2, CSR_KEY), "Invalid signature"),
    broken("version 2 with a byte more", 2, concatBytes(v2, Uint8Array.of(0))),
    broken("version 2 cut", 2, v2.subarray(0, -1)),
    broken("version 1 with a byte more", 1, concatBytes(v1, Uint8Array.of(0))),
    broken("a version that there is not", 3, v1),
    broken("nothing", 1, new Uint8Array(0)),
  ];
}
