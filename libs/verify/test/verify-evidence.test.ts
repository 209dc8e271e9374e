import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { hash32, hash48, utf8 } from "@dstack/bytes";
import { AttestError, parseQuote, tdReportOf, trustAnchorFromPem, type EventLogEntry } from "@dstack/attest";
import { fixedCollateral } from "@dstack/attest/node";
import { ImageError } from "@dstack/image";
import { SharedWork } from "@dstack/image/store";
import { acpiEvents, encodeVmConfig, measureLite, tdxMeasurementCbor } from "@dstack/measure";
import {
  downloadedImages,
  EVIDENCE_REQUIRED,
  evidenceFromJson,
  firstOf,
  imageIn,
  imagesBelow,
  judgeChecks,
  KnownMeasurements,
  verifyEvidence,
  verifyOsImage,
  type EvidenceVerification,
  type OsImageInput,
  type OsImageSource,
  type OsImageVerdict,
  type VerifyEvidenceOptions,
} from "@dstack/verify";
import { vmConfig } from "../../measure/test/fixtures.ts";
import {
  APP_ID,
  collateralAt,
  makeEvidence,
  makeImage,
  newPki,
  NOW,
  wireForms,
  type EvidenceOptions,
  type MockImage,
} from "./mock-app.ts";

const pki = newPki();
const nowhere: OsImageSource = { find: () => Promise.resolve({ kind: "absent", reason: "no image is kept here" }) };
let folder = "";
let image: MockImage;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "verify-"));
  image = await makeImage(folder);
});
after(() => rm(folder, { recursive: true, force: true }));

async function verify(
  evidence: EvidenceOptions = {},
  change: Partial<VerifyEvidenceOptions> = {},
): Promise<EvidenceVerification> {
  const options = {
    collateralSource: fixedCollateral(collateralAt(pki)),
    now: NOW,
    trustAnchor: trustAnchorFromPem(pki.rootPem),
    images: imagesBelow(folder),
    ...change,
  };
  return verifyEvidence(evidenceFromJson(wireForms(makeEvidence(image, { pki, ...evidence })).quote), options);
}

const sha = (algorithm: string, bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash(algorithm).update(bytes).digest());
const verdictOf = ({ checks }: EvidenceVerification): string => judgeChecks(checks, EVIDENCE_REQUIRED).kind;
const resultOf = ({ checks }: EvidenceVerification, name: string): string | undefined =>
  checks.find((check) => check.name === name)?.result;

test("verifies evidence whose registers are those of its image", async () => {
  const result = await verify();
  assert.equal(verdictOf(result), "verified", JSON.stringify(result.checks.filter((check) => check.result !== "pass")));
  assert.equal(result.osImage?.method, "image");
  assert.equal(result.osImage.metadata?.version, "0.6.0");
  for (const name of ["os-image", "firmware", "virtual-hardware", "kernel", "command-line-and-initrd", "acpi-tables"])
    assert.equal(resultOf(result, name), "pass", name);
});

test("both wire forms are the same evidence", () => {
  const made = makeEvidence(image, { pki });
  const forms = wireForms(made);
  const quote = evidenceFromJson(forms.quote);
  const attestation = evidenceFromJson({ ...forms.attestation, quote: "00", event_log: "[]", vm_config: "{}" });
  assert.deepEqual(attestation.attestation.runtimeEvents, quote.attestation.runtimeEvents);
  assert.equal(attestation.vmConfig, quote.vmConfig);
  assert.equal(attestation.vmConfig, made.vmConfig);
});

test("without the image nothing is called verified, whatever else holds", async () => {
  const result = await verify({}, { images: nowhere });
  assert.equal(result.attestation.ok, true);
  assert.equal(resultOf(result, "os-image"), "not bound");
  const verdict = judgeChecks(result.checks, EVIDENCE_REQUIRED);
  assert.equal(verdict.kind, "incomplete");
  assert.match(verdict.reason, /os-image: .*no image is kept here/);
});

for (const [what, register, name] of [
  ["firmware", 0, "firmware"],
  ["hardware", 1, "virtual-hardware"],
  ["kernel", 2, "kernel"],
  ["initrd", 3, "command-line-and-initrd"],
] as const) {
  test(`refuses another ${what} by its name (SECURITY 00)`, async () => {
    const other = hash48(new Uint8Array(48).fill(9));
    const result = await verify({
      td: (td) =>
        register === 0
          ? { ...td, mrTd: other }
          : { ...td, rtmr: td.rtmr.with(register - 1, other) as unknown as typeof td.rtmr },
    });
    assert.equal(verdictOf(result), "failed");
    assert.deepEqual(
      result.checks
        .filter((check) => check.result === "fail" && check.name !== "os-image" && check.name !== "acpi-tables")
        .map((check) => check.name),
      [name],
    );
    assert.equal(result.osImage?.ok, false);
  });
}

test("what was measured once is compared, not measured again, and never vouches for other registers", async () => {
  const known = new KnownMeasurements();
  let asked = 0;
  const images: OsImageSource = { find: (hash) => (asked++, imagesBelow(folder).find(hash)) };
  const other = hash48(new Uint8Array(48).fill(9));
  assert.equal(verdictOf(await verify({}, { images, known })), "verified");
  assert.equal(verdictOf(await verify({}, { images, known })), "verified");
  assert.equal(asked, 1);
  assert.equal(verdictOf(await verify({ td: (td) => ({ ...td, mrTd: other }) }, { images, known })), "failed");
  assert.equal(asked, 1, "a refusal costs no second reading");
  assert.equal(
    verdictOf(await verify({ vmConfig: { cpu_count: 3 } }, { images: nowhere, known })),
    "incomplete",
    "another configuration was never measured",
  );
  for (let i = 0; i < 64; i++) known.keep(new SharedWork(() => new Promise(() => undefined)), `other ${i}`);
  assert.equal(verdictOf(await verify({}, { images: nowhere, known })), "incomplete", "the oldest went out");
});

test("evidence that comes together is measured once, and an image that is not there is asked for again", async () => {
  const known = new KnownMeasurements();
  const answers: OsImageSource[] = [nowhere, imagesBelow(folder)];
  let asked = 0;
  const images: OsImageSource = { find: (hash) => answers[asked++]!.find(hash) };
  const all = (): Promise<string[]> =>
    Promise.all(Array.from({ length: 5 }, async () => verdictOf(await verify({}, { images, known }))));
  assert.deepEqual(await all(), Array(5).fill("incomplete"));
  assert.equal(asked, 1);
  assert.deepEqual(await all(), Array(5).fill("verified"));
  assert.equal(asked, 2);
});

test("a swapped image folder is named, and never measured", async () => {
  const copy = join(folder, "copy/dstack-sim-0.6.0");
  await cp(image.dir, copy, { recursive: true });
  await writeFile(join(copy, "bzImage"), "another kernel");
  const result = await verify({}, { images: imageIn(copy) });
  assert.equal(resultOf(result, "os-image"), "fail");
  assert.match(result.osImage?.reason ?? "", /bzImage/);
  assert.equal(result.osImage?.differences, undefined);
});

test("looks further where a source lacks the image, and no further where one has it", async () => {
  assert.equal(
    verdictOf(await verify({}, { images: firstOf(nowhere, imageIn(join(folder, "bundles")), imageIn(image.dir)) })),
    "verified",
  );
  const wrong: OsImageSource = { find: () => Promise.resolve({ kind: "wrong", reason: "spoilt" }) };
  assert.equal(verdictOf(await verify({}, { images: firstOf(wrong, imageIn(image.dir)) })), "failed");
});

test("tells an image that cannot be had from one that is another", async () => {
  for (const [code, kind] of [
    ["image-unavailable", "absent"],
    ["wrong-image", "wrong"],
  ] as const) {
    const source = downloadedImages({ imageOf: () => Promise.reject(new ImageError(code, "told")) });
    assert.deepEqual(await source.find(hash32(new Uint8Array(32))), { kind, reason: "told" });
    const { osImage } = await verify({}, { images: source });
    assert.deepEqual([osImage?.ok, osImage?.failure?.kind], [false, kind]);
  }
});

test("says why a downloaded image is another one, down to what was seen in it", async () => {
  const seen = new ImageError("bad-bundle", 'image bundle: "../../escape" is not a plain file name');
  const refused = new ImageError("wrong-image", "image bundle at http://images/a is refused", { cause: seen });
  const source = downloadedImages({
    imageOf: () => Promise.reject(new ImageError("wrong-image", "Failed to download image 00", { cause: refused })),
  });
  const { osImage } = await verify({}, { images: source });
  assert.match(osImage?.failure?.reason ?? "", /Failed to download image 00: .* is refused: .*"\.\.\/\.\.\/escape"/);
  assert.match(osImage?.reason ?? "", /"\.\.\/\.\.\/escape" is not a plain file name/);
});

test("no collateral means no verdict on the quote, and no look at the image", async () => {
  const result = await verify(
    {},
    {
      collateralSource: {
        collateralFor: () => Promise.reject(new AttestError("collateral-unavailable", "collateral server: down")),
      },
    },
  );
  assert.equal(resultOf(result, "collateral"), "fail");
  assert.equal(resultOf(result, "os-image"), "not bound");
  assert.equal(result.osImage, undefined);
});

test("a configuration that names no image, or is none, fails", async () => {
  assert.equal(resultOf(await verify({ vmConfig: { os_image_hash: "" } }), "os-image"), "fail");
  const made = makeEvidence(image, { pki });
  const options = {
    collateralSource: fixedCollateral(collateralAt(pki)),
    now: NOW,
    trustAnchor: trustAnchorFromPem(pki.rootPem),
    images: imagesBelow(folder),
  };
  const result = await verifyEvidence(
    { attestation: made.attestation, vmConfig: `{"os_image_hash":"${image.hash}","cpu_count":"two"}` },
    options,
  );
  assert.match(result.osImage?.reason ?? "", /cpu_count/);
});

test("lite evidence without its document is refused, not measured some other way", async () => {
  const result = await verify({ vmConfig: { tdx_attestation_variant: "lite" } });
  assert.equal(resultOf(result, "os-image"), "fail");
  assert.match(result.osImage?.reason ?? "", /tdx_measurement/);
});

describe("with an image's measurement document alone", () => {
  const acpiLog = (fill?: number): EventLogEntry[] => {
    return acpiEvents(vmConfig()).map((own) => ({
      ...own,
      digest: fill === undefined ? own.digest : new Uint8Array(48).fill(fill),
      event: "",
      eventPayload: utf8("ACPI DATA"),
    }));
  };
  const setUp = (
    log: EventLogEntry[],
    variant: "lite" | "legacy",
    edit: (document: Uint8Array) => Uint8Array = (document) => document,
  ) => {
    const document = tdxMeasurementCbor(image.files);
    const material = {
      checksumFile: utf8(`${Buffer.from(sha("sha256", document)).toString("hex")}  measurement.tdx.cbor\n`),
      measurement: document,
    };
    const config = {
      ...vmConfig(),
      osImageHash: hash32(sha("sha256", material.checksumFile)),
      attestationVariant: variant,
      tdxMeasurement: { ...material, measurement: edit(document) },
    };
    const { mrtd, rtmr0, rtmr1, rtmr2 } = measureLite({ ...config, tdxMeasurement: material }, log);
    const report = tdReportOf(
      parseQuote(
        makeEvidence(image, { pki, td: (td) => ({ ...td, mrTd: mrtd, rtmr: [rtmr0, rtmr1, rtmr2, td.rtmr[3]] }) })
          .attestation.platform.quote,
      ),
    );
    const input: OsImageInput = {
      report,
      eventLog: log,
      vmConfig: encodeVmConfig(config),
      images: nowhere,
      acpiTables: "computed-or-logged",
    };
    return { input, material };
  };
  const acpi = (verdict: OsImageVerdict): string | undefined =>
    verdict.checks.find(({ name }) => name === "acpi-tables")?.result;

  test("compares everything where the tables are those that we compute", async () => {
    const { input, material } = setUp(acpiLog(), "lite");
    const lite = await verifyOsImage(input);
    assert.deepEqual([lite.ok, lite.method, acpi(lite)], [true, "document", "pass"], lite.reason);
    const config = JSON.parse(input.vmConfig) as Record<string, unknown>;
    const legacy = {
      ...input,
      vmConfig: JSON.stringify({ ...config, tdx_attestation_variant: "legacy", tdx_measurement: undefined }),
    };
    const bundled = await verifyOsImage({
      ...legacy,
      images: { find: () => Promise.resolve({ kind: "document", material }) },
    });
    assert.deepEqual([bundled.ok, bundled.method, acpi(bundled)], [true, "document", "pass"], bundled.reason);
  });

  test("says that unknown tables were not looked at (TDX lite and ACPI)", async () => {
    const verdict = await verifyOsImage(setUp(acpiLog(7), "lite").input);
    assert.deepEqual([verdict.ok, verdict.method, acpi(verdict)], [true, "lite", "not bound"], verdict.reason);
    const { input, material } = setUp(acpiLog(7), "legacy");
    const bundled = await verifyOsImage({
      ...input,
      images: { find: () => Promise.resolve({ kind: "document", material }) },
    });
    assert.deepEqual([bundled.ok, acpi(bundled)], [false, "fail"], "a bundle's document never takes digests on trust");
  });

  test("of a machine whose tables are not modelled, it compares all but those, in the lite form alone", async () => {
    const { input, material } = setUp(acpiLog(7), "lite");
    const changed = (change: object): string =>
      JSON.stringify({ ...(JSON.parse(input.vmConfig) as object), ...change });
    const verdict = await verifyOsImage({ ...input, vmConfig: changed({ swtpm: true }) });
    assert.deepEqual([verdict.ok, verdict.method, acpi(verdict)], [true, "lite", "not bound"], verdict.reason);
    const legacy = {
      ...input,
      vmConfig: changed({ swtpm: true, tdx_attestation_variant: "legacy" }),
      images: { find: () => Promise.resolve({ kind: "document" as const, material }) },
    };
    assert.match((await verifyOsImage(legacy)).reason, /swtpm/);
    const strict = await verifyOsImage({ ...input, vmConfig: changed({ swtpm: true }), acpiTables: "computed" });
    assert.deepEqual([strict.failure?.kind, /swtpm/.test(strict.reason)], ["unmeasurable", true]);
    const absurd = await verifyOsImage({ ...input, vmConfig: changed({ cpu_count: 5000 }) });
    assert.deepEqual([absurd.ok, /cpu_count/.test(absurd.reason)], [false, true], absurd.reason);
  });

  test("keeps what lite evidence measures to, by its configuration and by the digests that it took from a log", async () => {
    const known = new KnownMeasurements();
    for (const fill of [undefined, 7]) {
      const { input } = setUp(acpiLog(fill), "lite");
      const first = await verifyOsImage({ ...input, known });
      const again = await verifyOsImage({ ...input, known });
      assert.equal(first.ok, true, first.reason);
      assert.equal(again.expected, first.expected, "not measured again");
      const others = setUp(acpiLog(9), "lite").input;
      assert.deepEqual([(await verifyOsImage({ ...others, known })).ok], [true], "another log is measured for itself");
      const mixed = await verifyOsImage({ ...input, eventLog: others.eventLog, known });
      assert.equal(mixed.ok, fill === undefined, "a log never vouches for the registers of another");
    }
  });

  test("refuses a document that is not the image's", async () => {
    const verdict = await verifyOsImage(
      setUp(acpiLog(), "lite", (document) => document.with(document.length - 1, 1)).input,
    );
    assert.equal(verdict.ok, false);
    assert.match(verdict.reason, /does not match os_image_hash/);
  });
});

test("evidence that cannot be read is refused with what was expected", () => {
  const forms = wireForms(makeEvidence(image, { pki }));
  const cases: [unknown, RegExp][] = [
    [null, /expected a JSON object/],
    [[], /expected a JSON object/],
    [{}, /neither attestation nor quote/],
    [{ quote: 5 }, /quote: expected text, got number/],
    [{ quote: ["00"] }, /quote: expected text, got an array/],
    [{ ...forms.quote, quote: "zz" }, /quote is not hex/],
    [{ quote: forms.quote["quote"] }, /without event_log/],
    [{ ...forms.quote, event_log: "{" }, /event log: not valid JSON/],
    [{ attestation: "00" }, /attestation|scale|truncated|expected/i],
    [{ ...forms.quote, attestation: "" }, /Empty attestation bytes/],
    [{ attestation: `0x${forms.attestation["attestation"]}` }, /attestation is not hex/],
    [{ ...forms.quote, quote: `0x${forms.quote["quote"]}` }, /quote is not hex/],
    [{ ...forms.quote, quote: "0400" }, /quote/],
    [{ quote: "0".repeat(21 * 1024 * 1024), event_log: "[]" }, /at most/],
  ];
  for (const [value, expected] of cases) assert.throws(() => evidenceFromJson(value), expected);
  assert.equal(
    evidenceFromJson({ ...forms.quote, attestation: null, more: 1 }).attestation.runtimeEvents[1]?.event,
    "app-id",
  );
  assert.deepEqual(
    evidenceFromJson(forms.quote).attestation.runtimeEvents[1]?.payload,
    new Uint8Array(Buffer.from(APP_ID, "hex")),
  );
});

test("evidence of other platforms is refused by name", () => {
  // SCALE version 0, variant 3: SEV-SNP.
  assert.throws(() => evidenceFromJson({ attestation: `0003${Buffer.from(utf8("x")).toString("hex")}` }), {
    code: "platform-unsupported",
    message: /not supported: .*SEV-SNP/,
  });
});

test("a verdict needs every required check to be there and bound", () => {
  const check = (name: string, result: "pass" | "fail" | "not bound" | "not applicable") => ({
    name,
    result,
    reason: "because",
  });
  assert.deepEqual(judgeChecks([check("a", "pass")], ["a"]), { kind: "verified" });
  assert.deepEqual(judgeChecks([check("a", "not applicable")], ["a"]), { kind: "verified" });
  assert.deepEqual(judgeChecks([check("a", "pass"), check("b", "not bound")], ["a"]), { kind: "verified" });
  assert.deepEqual(judgeChecks([], ["a"]), { kind: "incomplete", reason: "a was not checked" });
  assert.deepEqual(judgeChecks([check("a", "not bound")], ["a"]), { kind: "incomplete", reason: "a: because" });
  assert.deepEqual(judgeChecks([check("a", "pass"), check("a", "not bound")], ["a"]), {
    kind: "incomplete",
    reason: "a: because",
  });
  assert.deepEqual(judgeChecks([check("b", "fail")], []), { kind: "failed", reason: "b: because" });
});
