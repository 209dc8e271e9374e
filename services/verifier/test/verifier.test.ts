import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { hash48 } from "@dstack/bytes";
import {
  AttestError,
  collateralFromJson,
  encodeAttestationV1,
  intelTrustAnchor,
  parsePolicyText,
  trustAnchorFromPem,
} from "@dstack/attest";
import { fixedCollateral } from "@dstack/attest/node";
import { createLogger } from "@dstack/log";
import { imagesBelow, type OsImageSource } from "@dstack/verify";
import {
  APP_ID,
  collateralAt,
  INSTANCE_ID,
  makeEvidence,
  makeImage,
  newPki,
  NOW,
  wireForms,
  type EvidenceOptions,
  type MockImage,
} from "../../../libs/verify/test/mock-app.ts";
import type { VerificationResponse } from "../src/verification-response.ts";
import { Verifier, type VerifierOptions } from "../src/verifier.ts";
import { recordedTest, recordedVectors } from "../../../tests/vectors/vector-sets.ts";

const pki = newPki();
const nowhere: OsImageSource = { find: () => Promise.resolve({ kind: "absent", reason: "the download failed" }) };
let log = "";
let folder = "";
let image: MockImage;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "verifier-"));
  image = await makeImage(folder);
});
after(() => rm(folder, { recursive: true, force: true }));

function verifier(change: Partial<VerifierOptions> = {}): Verifier {
  const logger = createLogger({ name: "t", stream: { write: (line: string) => (log += line) } });
  return new Verifier({
    collateralSource: fixedCollateral(collateralAt(pki)),
    trustAnchor: trustAnchorFromPem(pki.rootPem),
    images: imagesBelow(folder),
    clock: { now: () => NOW * 1000 },
    log: logger,
    ...change,
  });
}

const request = (options: EvidenceOptions = {}): Record<string, string> =>
  wireForms(makeEvidence(image, { pki, ...options })).quote;
const flags = ({ is_valid, details }: VerificationResponse): boolean[] => [
  is_valid,
  details.quote_verified,
  details.os_image_hash_verified,
  details.event_log_verified,
];

test("says until when a verdict is good, and demands what its policy does (SECURITY #613)", async () => {
  const { details } = await verifier().verifyRequest(request());
  assert.match(details.good_until ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  const soon = parsePolicyText('{"max_collateral_age":{"tcb_info":{"warn_days":0.5,"max_days":2}}}');
  const limited = await verifier({ policy: soon }).verifyRequest(request());
  assert.equal(limited.is_valid, true);
  assert.ok(Date.parse(limited.details.good_until ?? "") < Date.parse(details.good_until ?? ""));
  const check = limited.details.checks.find(({ name }) => name === "policy-collateral");
  assert.match(check?.warning ?? "", /TCB info of .* days old; the policy warns after 0\.5, and refuses after 2/);
  const refused = await verifier({ policy: parsePolicyText('{"min_tcb_evaluation_number":99}') }).verifyRequest(
    request(),
  );
  assert.equal(refused.is_valid, false);
  assert.match(refused.reason ?? "", /^Quote verification failed: policy-collateral: TCB info is of evaluation/);
  assert.equal(refused.details.good_until, undefined);
});

test("answers a valid request with everything that released clients read", async () => {
  const made = makeEvidence(image, { pki });
  const result = await verifier().verifyRequest({ ...wireForms(made).quote, pccs_url: null, unknown: 1 });
  assert.equal(result.reason, null);
  assert.deepEqual(flags(result), [true, true, true, true]);
  const { details } = result;
  assert.equal(details.report_data, "00".repeat(64));
  assert.equal(details.tcb_status, "UpToDate");
  assert.deepEqual(details.advisory_ids, []);
  assert.equal(details.app_info?.app_id, APP_ID);
  assert.equal(details.app_info.instance_id, INSTANCE_ID);
  assert.equal(details.app_info.os_image_hash, image.hash);
  assert.deepEqual(details.app_info.rtmr0, Buffer.from(made.measured.rtmr0).toString("hex"));
  assert.deepEqual(details.key_provider, { name: "kms", id: "3059" });
  assert.deepEqual(
    [details.os_image_is_dev, details.os_image_version, details.acpi_tables_verified, details.tee_variant],
    [true, "0.6.0", true, "dstack-tdx"],
  );
  assert.deepEqual(Object.keys(details.boot_info ?? {}), [
    "teeVariant",
    "mrAggregated",
    "osImageHash",
    "mrSystem",
    "appId",
    "composeHash",
    "instanceId",
    "deviceId",
    "keyProviderInfo",
    "tcbStatus",
    "advisoryIds",
  ]);
  assert.equal(details.acpi_tables, undefined);
  assert.equal(details.rtmr_debug, undefined);
});

test("an attestation wins over quote, event log and configuration, in either version", async () => {
  const made = makeEvidence(image, { pki });
  for (const attestation of [
    wireForms(made).attestation["attestation"],
    Buffer.from(encodeAttestationV1(made.attestation)).toString("hex"),
  ]) {
    const result = await verifier().verifyRequest({ attestation, quote: "00", event_log: "[]", vm_config: "{}" });
    assert.deepEqual(flags(result), [true, true, true, true], result.reason ?? "");
  }
});

test("takes debug for true or false, and nothing else for it", async () => {
  for (const debug of [null, 1, "true"])
    assert.match(
      (await verifier().verifyRequest({ ...request(), debug })).reason ?? "",
      /debug: expected true or false/,
    );
});

test("debug shows the ACPI tables, and beside a register that differs the events that were expected", async () => {
  const good = await verifier().verifyRequest({ ...request(), debug: true });
  assert.match(good.details.acpi_tables?.tables ?? "", /^[0-9a-f]+$/);
  assert.equal(good.details.rtmr_debug, undefined);
  const bad = await verifier().verifyRequest({
    ...request({
      td: (td) => ({ ...td, rtmr: td.rtmr.with(2, hash48(new Uint8Array(48))) as unknown as typeof td.rtmr }),
    }),
    debug: true,
  });
  assert.deepEqual(
    bad.details.rtmr_debug?.map(({ rtmr, actual }) => [rtmr, actual]),
    [["RTMR2", "00".repeat(48)]],
  );
  const [register] = bad.details.rtmr_debug;
  assert.ok(
    register!.events.every(
      ({ status, expected_digest, actual_digest }) => status === "match" && expected_digest === actual_digest,
    ),
  );
  const cut = JSON.parse(request()["event_log"]!) as { imr: number }[];
  const short = await verifier().verifyRequest({
    ...request({
      vmConfig: { cpu_count: 2 },
      td: (td) => ({
        ...td,
        mrTd: hash48(new Uint8Array(48)),
        rtmr: td.rtmr.with(2, hash48(new Uint8Array(48))) as unknown as typeof td.rtmr,
      }),
    }),
    event_log: JSON.stringify(cut.filter(({ imr }) => imr !== 2)),
    debug: true,
  });
  assert.deepEqual(
    short.details.rtmr_debug?.map(({ rtmr, events }) => [rtmr, events.map(({ status }) => status)]),
    [
      ["MRTD", []],
      ["RTMR2", ["missing", "missing"]],
    ],
  );
});

test("the first of quote, image and log that fails is the reason, and the rest reads not verified", async () => {
  const rtmr3 = await verifier().verifyRequest(
    request({
      td: (td) => ({ ...td, rtmr: td.rtmr.with(3, hash48(new Uint8Array(48))) as unknown as typeof td.rtmr }),
    }),
  );
  assert.deepEqual(flags(rtmr3), [false, false, false, false]);
  assert.match(rtmr3.reason ?? "", /^Quote verification failed: rtmr3-replay: .*RTMR3/);
  const firmware = await verifier().verifyRequest(
    request({ td: (td) => ({ ...td, mrTd: hash48(new Uint8Array(48)) }) }),
  );
  assert.deepEqual(flags(firmware), [false, true, false, false]);
  assert.match(firmware.reason ?? "", /^OS image hash verification failed: MRTD does not match/);
  assert.equal(firmware.details.tcb_status, "UpToDate");
  assert.equal(firmware.details.app_info, null);
  const twice = await verifier().verifyRequest(
    request({ events: (usual) => [...usual.slice(0, 2), ...usual.slice(1)] }),
  );
  assert.deepEqual(flags(twice), [false, true, false, false]);
  assert.match(twice.reason ?? "", /^Event log verification failed: /);
});

test("without collateral or image it says so and never valid", async () => {
  const down = await verifier({
    collateralSource: {
      collateralFor: () =>
        Promise.reject(new AttestError("collateral-unavailable", "collateral server pccs.example: connection refused")),
    },
  }).verifyRequest(request());
  assert.deepEqual(flags(down), [false, false, false, false]);
  assert.match(down.reason ?? "", /^Quote verification failed: collateral: .*connection refused/);
  const missing = await verifier({ images: nowhere }).verifyRequest(request());
  assert.deepEqual(flags(missing), [false, true, false, false]);
  assert.match(missing.reason ?? "", /^OS image hash verification failed: .*is not at hand.*the download failed/);
});

test("a quote under another root is refused", async () => {
  for (const trustAnchor of [intelTrustAnchor(), trustAnchorFromPem(newPki("11".repeat(32)).rootPem)]) {
    const result = await verifier({ trustAnchor }).verifyRequest(request());
    assert.equal(result.details.quote_verified, false);
    assert.match(result.reason ?? "", /^Quote verification failed: /);
  }
});

test("what cannot be read is a verdict with a reason, and what breaks inside stays in the log", async () => {
  for (const [bad, expected] of [
    [{}, /neither attestation nor quote/],
    [{ quote: "zz", event_log: "[]" }, /quote is not hex/],
    [{ quote: "0400", event_log: "[]" }, /quote/],
    [{ attestation: "ff" }, /attestation/i],
  ] as const) {
    const result = await verifier().verifyRequest(bad);
    assert.equal(result.is_valid, false);
    assert.match(result.reason ?? "", /^Quote verification failed: /);
    assert.match(result.reason ?? "", expected);
  }
  const broken = await verifier({
    images: { find: () => Promise.reject(new Error("disk of the verifier")) },
  }).verifyRequest(request());
  assert.match(broken.reason ?? "", /^Internal error: /);
  assert.ok(!JSON.stringify(broken).includes("disk of the verifier"));
  assert.match(log, /disk of the verifier/);
});

describe("recorded evidence", () => {
  if (recordedVectors === undefined) return;
  const { bytes, json } = recordedVectors;
  test("a real GPU guest verifies up to its image, which is not at hand", async () => {
    const real = verifier({
      collateralSource: fixedCollateral(
        collateralFromJson(json<Record<string, unknown>>("attestation/collateral/out2602.json")),
      ),
      trustAnchor: intelTrustAnchor(),
      images: nowhere,
      clock: { now: () => Date.UTC(2026, 2, 1) },
    });
    const fixture = json<Record<string, unknown>>("attestation/verifier/quote-report.json");
    const result = await real.verifyRequest(fixture);
    assert.deepEqual(flags(result), [false, true, false, false], result.reason ?? "");
    assert.match(
      result.reason ?? "",
      /image 14ad42d0270b444eaeb53918a5a94d9b17eec7a817cd336173b17c5327541c67 is not at hand/,
    );
    assert.equal(result.details.report_data, fixture["report_data"]);
    assert.match(
      result.details.checks.find(({ name }) => name === "app-identity")?.reason ?? "",
      /3763bc34552cf3a27ff71ad5f7a90471562a1a2d/,
    );
    assert.equal(result.details.checks.find(({ name }) => name === "firmware-log")?.result, "pass");
    const late = verifier({
      collateralSource: fixedCollateral(
        collateralFromJson(json<Record<string, unknown>>("attestation/collateral/out2602.json")),
      ),
      trustAnchor: intelTrustAnchor(),
      images: nowhere,
      clock: { now: () => Date.UTC(2027, 2, 1) },
    });
    assert.match((await late.verifyRequest(fixture)).reason ?? "", /^Quote verification failed: .*expired/);
  });

  test("the simulator's canned attestation has no sound signature", async () => {
    const result = await verifier({
      trustAnchor: intelTrustAnchor(),
      collateralSource: fixedCollateral(
        collateralFromJson(json<Record<string, unknown>>("attestation/collateral/tdx2506.json")),
      ),
      clock: { now: () => Date.UTC(2025, 6, 1) },
    }).verifyRequest({ attestation: Buffer.from(bytes("attestation/simulator/attestation.bin")).toString("hex") });
    assert.equal(result.details.quote_verified, false);
  });

  test("an answer has every member that a certificate monitor reads", async () => {
    const recorded = json<VerificationResponse>("gateway/ct/verifier-response.json");
    const ours = await verifier().verifyRequest(request());
    const shape = (value: unknown, like: unknown, path: string): void => {
      assert.equal(typeof value, typeof like, path);
      if (typeof like !== "object" || like === null) return;
      for (const [name, inner] of Object.entries(like))
        shape((value as Record<string, unknown>)[name], inner, `${path}.${name}`);
    };
    shape(ours, recorded, "answer");
  });

  test("SEV-SNP and Nitro evidence is refused by name", async () => {
    assert.match(
      (await verifier().verifyRequest(json<Record<string, unknown>>("attestation/snp/sev-snp-attestation.json")))
        .reason ?? "",
      /^Quote verification failed: not supported: AMD SEV-SNP/,
    );
    assert.match(
      (
        await verifier().verifyRequest({
          attestation: Buffer.from(bytes("attestation/nitro/nitro_attestation.bin")).toString("hex"),
        })
      ).reason ?? "",
      /^Quote verification failed: not supported: AWS Nitro/,
    );
  });
});

const rust = "attestation/rust";
for (const form of ["v1", "v2-no-preimage", "v2-preimage-text", "v2-preimage-bin"])
  recordedTest(`calls recorded lite evidence of the reference's agent valid: events ${form}`, async ({ text }) => {
    const recorded = new Verifier({
      collateralSource: fixedCollateral(collateralFromJson(JSON.parse(text(`${rust}/collateral.json`)))),
      trustAnchor: trustAnchorFromPem(text(`${rust}/tdx-root-ca.pem`)),
      images: { find: () => Promise.resolve({ kind: "absent", reason: "lite evidence needs none" }) },
      clock: { now: () => Date.parse("2026-11-30T00:00:00Z") },
      log: createLogger({ name: "test", level: "silent" }),
    });
    const result = await recorded.verifyRequest({ attestation: text(`${rust}/lite-events-${form}.hex`).trim() });
    assert.equal(result.reason, null);
    assert.deepEqual(flags(result), [true, true, true, true]);
  });
