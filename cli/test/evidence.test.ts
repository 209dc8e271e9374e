import assert from "node:assert/strict";
import { test } from "node:test";
import {
  encodeAttestation,
  encodeAttestationV1,
  encodeEventLogJson,
  formatRuntimeLogLine,
  runtimeEntries,
  type Attestation,
  type RuntimeEvent,
} from "@dstack/attest";
import { reportData, toHex, utf8 } from "@dstack/bytes";
import { generateP256, spkiDer } from "@dstack/keys";
import { createCa, createLeaf, encodeCsrV1, encodeCsrV2, type CsrConfig } from "@dstack/ratls";
import { describeEvidence, type Fields } from "../src/evidence/describe.ts";
import { fieldLines } from "../src/evidence/field-lines.ts";
import { readEvidence } from "../src/evidence/read-evidence.ts";
import { readEventLog } from "../src/evidence/read-event-log.ts";
import { replayEventLog } from "../src/evidence/replay-event-log.ts";
import { replayText } from "../src/evidence/replay-text.ts";
import { KmsMeta } from "../src/verify/subject.ts";
import { recordedTest } from "../../tests/vectors/vector-sets.ts";

const none = new Uint8Array();
const boot: readonly RuntimeEvent[] = [
  { event: "system-preparing", payload: none },
  { event: "app-id", payload: new Uint8Array(20).fill(1) },
  { event: "compose-hash", payload: new Uint8Array(32).fill(2) },
  { event: "instance-id", payload: none },
  { event: "boot-mr-done", payload: none },
  { event: "system-ready", payload: none },
  { event: "compose-hash", payload: utf8("a look-alike\u001b[2J") },
];
const attestation: Attestation = {
  platform: { kind: "tdx", quote: new Uint8Array(9), eventLog: runtimeEntries(boot) },
  runtimeEvents: boot,
  reportData: reportData(new Uint8Array(64).fill(7)),
  config: "{}",
};
const key = generateP256();
const ca = createCa({ organization: "Dstack", commonName: "a CA", key, pathLength: 0, now: 1_764_000_000 });
const leaf = createLeaf({
  commonName: "a\u0085leaf",
  issuer: ca,
  publicPoint: key.publicPoint,
  attestation,
  usage: "app:custom",
  now: 1_764_000_000,
});
const config: CsrConfig = {
  subject: "x",
  altNames: ["y"],
  serverAuth: true,
  clientAuth: false,
  withEvidence: false,
  withAppInfo: false,
};
const csrV1 = encodeCsrV1({ publicKeyInfo: spkiDer(key), config, quote: none, eventLogJson: "" });
const csrV2 = encodeCsrV2({ publicKeyInfo: spkiDer(key), config, attestation });

const fieldsOf = (bytes: Uint8Array): Fields => describeEvidence(readEvidence(bytes) ?? assert.fail("not recognised"));

test("recognises evidence by its content, in binary, hex, PEM and JSON", () => {
  const v0 = encodeAttestation(attestation);
  const forms: readonly (readonly [string, Uint8Array | string, string])[] = [
    ["SCALE", v0, "attestation"],
    ["msgpack", encodeAttestationV1(attestation), "attestation"],
    ["hex with a newline", `0x${toHex(v0)}\n`, "attestation"],
    ["hex in lines", toHex(v0).replace(/.{64}/g, "$&\n"), "attestation"],
    ["an agent's answer", JSON.stringify({ attestation: toHex(v0) }), "attestation"],
    ["DER", leaf.certificate.raw, "certificate"],
    ["PEM", leaf.pem, "certificate"],
    ["a chain", leaf.pem + ca.pem, "certificate"],
    ["request 1", csrV1, "certificate request"],
    ["request 2", toHex(csrV2), "certificate request"],
  ];
  for (const [name, content, kind] of forms)
    assert.equal(readEvidence(typeof content === "string" ? utf8(content) : content)?.kind, kind, name);
  for (const other of ["", "{}", "hello", "abc", '{"quote":""}', "[1]"])
    assert.equal(readEvidence(utf8(other)), undefined, other);
  assert.equal(readEvidence(Uint8Array.of(0xff, 1)), undefined);
});

test("refuses long hex like short, not for want of stack", () => {
  const long = "00".repeat(5 * 1024 * 1024);
  assert.throws(() => readEvidence(utf8(long)), { code: "attestation-malformed" });
  assert.equal(KmsMeta.safeParse({ ca_cert: "", k256_pubkey: long }).success, true);
  assert.equal(KmsMeta.safeParse({ ca_cert: "", k256_pubkey: `${long}0` }).success, false);
});

test("prints every field of what it recognised", () => {
  assert.deepEqual([fieldsOf(csrV1)["api_version"], fieldsOf(csrV2)["api_version"]], [1, 2]);
  assert.match(String(fieldsOf(csrV1)["attestation_refused"]), /quote: version: needs 2 bytes/);
  const certificate = fieldsOf(utf8(leaf.pem + ca.pem));
  assert.deepEqual([certificate["usage"], certificate["not_before"]], ["app:custom", "1975-01-01T00:00:00Z"]);
  assert.deepEqual((certificate["attestation"] as Fields)["report_data"], "07".repeat(64));
  assert.match(String((certificate["attestation"] as Fields)["quote_refused"]), /^quote: /);
  const lines = fieldLines(certificate);
  assert.ok(lines.includes("subject: a\\x85leaf"), "control characters are shown, not obeyed");
  assert.ok(lines.includes("issuers: 1"));
  assert.ok(lines.includes("    name: dstack attestation"));
});

test("finds the log in each file that carries one, and replays it to the same register", () => {
  const log = encodeEventLogJson(runtimeEntries(boot));
  const files: readonly (readonly [string, Uint8Array | string])[] = [
    ["event log", log],
    ["runtime log", boot.map(formatRuntimeLogLine).join("")],
    ["tcb_info", JSON.stringify({ event_log: JSON.parse(log) as unknown })],
    ["tcb_info", JSON.stringify({ tcb_info: JSON.stringify({ event_log: JSON.parse(log) as unknown }) })],
  ];
  const registers = files.map(([kind, content]) => {
    const found = readEventLog(typeof content === "string" ? utf8(content) : content) ?? assert.fail(kind);
    const replay = replayEventLog(found);
    assert.equal(replay.kind, kind);
    assert.ok(replay.ok);
    assert.deepEqual([replay.claims?.["app_id"], replay.claims?.["compose_hash"]], ["01".repeat(20), "02".repeat(32)]);
    assert.deepEqual(
      replay.events.map((event) => event["phase"]),
      [...Array<string>(6).fill("boot"), "application"],
    );
    assert.ok(!replayText(replay).includes("\u001b"), "control characters are shown, not obeyed");
    return replay.rtmr3;
  });
  assert.equal(new Set(registers).size, 1);
  assert.equal(
    readEventLog(utf8(formatRuntimeLogLine(boot[0]!).trimEnd()))?.kind,
    "runtime log",
    "a single line without its newline",
  );
  for (const other of ["hello", "{}", '{"tcb_info":""}', '{"event_log":5}', '{"quote":"","attestation":""}'])
    assert.equal(readEventLog(utf8(other)), undefined, other);
  assert.throws(
    () => readEventLog(utf8('{"a":1}\n{')),
    (error: Error & { code?: string }) => error.code === "event-log-malformed",
  );
});

test("fails a log that does not replay to the register, or whose claims or manifest do not fit", () => {
  const entries = JSON.parse(encodeEventLogJson(runtimeEntries(boot))) as unknown[];
  const replay = replayEventLog(readEventLog(utf8(JSON.stringify(entries)))!);
  const stated = {
    event_log: entries,
    rtmr0: "00".repeat(48),
    rtmr1: "00".repeat(48),
    rtmr2: "00".repeat(48),
    rtmr3: replay.rtmr3,
  };
  const failed = (value: object): string[] =>
    replayEventLog(readEventLog(utf8(JSON.stringify(value)))!)
      .checks.filter(({ result }) => result === "fail")
      .map(({ name }) => name);
  assert.deepEqual(failed(stated), []);
  assert.deepEqual(failed({ ...stated, rtmr3: "11".repeat(48) }), ["rtmr3-replay"]);
  assert.deepEqual(
    failed({ ...stated, event_log: [...entries.slice(1, 2), ...entries.slice(0, 1), ...entries.slice(2)] }),
    ["rtmr3-replay"],
    "reordered",
  );
  assert.deepEqual(
    failed({ event_log: [...entries.slice(0, 2), ...entries.slice(1)] }),
    ["boot-events"],
    "an event twice",
  );
  assert.deepEqual(failed({ ...stated, app_compose: "{}" }), ["app-compose"]);
  const other = { ...attestation, runtimeEvents: boot.slice(0, 5) };
  const found = { kind: "attestation" as const, entries: other.platform.eventLog, runtimeEvents: other.runtimeEvents };
  assert.deepEqual(replayEventLog(found).checks.find(({ name }) => name === "event-log")?.code, "event-log-mismatch");
});

recordedTest("replays recorded logs to their quotes, in each form", ({ bytes: read }) => {
  const vector = (path: string): Uint8Array => read(`attestation/${path}`);
  for (const [path, kind] of [
    ["verifier/quote-report.json", "GetQuote answer"],
    ["cvm/near-mpc-45424d4cf/tcb_info.json", "tcb_info"],
    ["simulator/attestation.bin", "attestation"],
    ["ccel/ccel.bin", "CCEL"],
  ] as const) {
    const replay = replayEventLog(readEventLog(vector(path)) ?? assert.fail(path));
    assert.deepEqual([replay.kind, replay.ok], [kind, true], path);
    assert.equal(replay.checks[0]?.result, kind === "CCEL" ? "not bound" : "pass", path);
  }
  const request = JSON.parse(Buffer.from(vector("verifier/quote-report.json")).toString()) as {
    report_data: string;
    event_log: string;
  };
  const failedOf = (change: object): string | undefined =>
    replayEventLog(readEventLog(utf8(JSON.stringify({ ...request, ...change })))!).checks.find(
      ({ result }) => result === "fail",
    )?.name;
  assert.equal(failedOf({ report_data: "00".repeat(64) }), "report-data");
  assert.equal(
    failedOf({ event_log: JSON.stringify((JSON.parse(request.event_log) as unknown[]).slice(0, -1)) }),
    "rtmr3-replay",
  );
});

recordedTest("decodes every recorded quote, and names platforms that are not supported", ({ bytes: read }) => {
  const vector = (path: string): Uint8Array => read(`attestation/${path}`);
  for (const name of ["tdx-v4-uptodate", "sgx-v3-config-sw", "tdx-v5-td15-service-td"]) {
    const bytes = vector(`quotes/${name}.bin`);
    const fields = fieldsOf(bytes);
    assert.deepEqual(fieldsOf(utf8(toHex(bytes))), fields);
    assert.equal((fields["certification"] as Fields)["kind"], "PCK certificate chain");
  }
  assert.equal(fieldsOf(vector("quotes/tdx-v4-uptodate.bin"))["trailing_bytes"], 70);
  const nested = fieldsOf(vector("simulator/attestation.bin"))["quote_fields"] as { body: Fields };
  assert.match(String(nested.body["rtmr3"]), /^f28a1490ee92/);
  for (const [path, platform] of [
    ["snp/sev-snp-attestation.json", "AMD SEV-SNP"],
    ["nitro/nitro_attestation.bin", "AWS Nitro Enclave"],
    ["gpu/gpu_attestation_h100.json", "NVIDIA GPU"],
  ] as const) {
    assert.throws(
      () => readEvidence(vector(path)),
      (error: Error & { code?: string }) =>
        error.code === "platform-unsupported" && error.message.startsWith(`not supported: ${platform}`),
    );
  }
});
