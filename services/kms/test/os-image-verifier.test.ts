import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { hash32, hash48, utf8, type Hash48 } from "@dstack/bytes";
import type { EventLogEntry, TdReport } from "@dstack/attest";
import { ImageError } from "@dstack/image";
import type { MeasuredImage } from "@dstack/image/store";
import { downloadedImages } from "@dstack/verify";
import {
  acpiTables,
  encodeVmConfig,
  machineOf,
  measureLite,
  measureVm,
  parseVmConfig,
  tdxMeasurementCbor,
  type Registers,
  type VmConfig,
} from "@dstack/measure";
import { files as fixtureFiles } from "../../../libs/measure/test/fixtures.ts";
import { KmsError } from "../src/errors.ts";
import { osImageVerifier as verifierOf, type OsImageVerifier } from "../src/image/os-image-verifier.ts";

const files = fixtureFiles();
const image: MeasuredImage = { files, metadata: {} as MeasuredImage["metadata"] };
const osImageVerifier = (store: { imageOf(): Promise<MeasuredImage> }): OsImageVerifier =>
  verifierOf(downloadedImages(store));
const HASH = "05".repeat(32);
const textOf = (change: object = {}): string =>
  JSON.stringify({ os_image_hash: HASH, cpu_count: 2, memory_size: 2 ** 31, qemu_version: "8.2.2", ...change });
const reportOf = ({ mrtd, rtmr0, rtmr1, rtmr2 }: Registers): TdReport =>
  ({ mrTd: mrtd, rtmr: [rtmr0, rtmr1, rtmr2, hash48(new Uint8Array(48))] }) as unknown as TdReport;
const good = (text = textOf()): TdReport => reportOf(measureVm(files, parseVmConfig(text)));
const other = (): Hash48 => hash48(new Uint8Array(48).fill(9));
const code = async (run: Promise<void>): Promise<string> =>
  run.then(
    () => "accepted",
    (error: unknown) => {
      assert.ok(error instanceof KmsError, String(error));
      return `${error.code}: ${error.message}${error.cause instanceof Error ? `: ${error.cause.message}` : ""}`;
    },
  );

test("files are read once for a configuration, also by callers that come together, until it is forgotten", async () => {
  let reads = 0;
  const verifier = osImageVerifier({ imageOf: () => Promise.resolve(image).finally(() => reads++) });
  await Promise.all(Array.from({ length: 20 }, () => verifier.verify(textOf(), good(), [])));
  assert.equal(reads, 1);
  for (const register of ["mrtd", "rtmr0", "rtmr2"] as const) {
    const report = reportOf({ ...measureVm(files, parseVmConfig(textOf())), [register]: other() });
    assert.match(
      await code(verifier.verify(textOf(), report, [])),
      new RegExp(`measurement-mismatch: MRs do not match: ${register.toUpperCase()} does not match \\(image ${HASH}`),
    );
  }
  assert.equal(reads, 1, "a refusal costs no second reading");
  verifier.forget();
  await verifier.verify(textOf(), good(), []);
  assert.equal(reads, 2);
});

test("RTMR1 that is not the kernel's is refused by a fresh look at the files", async () => {
  let reads = 0;
  const verifier = osImageVerifier({ imageOf: () => Promise.resolve(image).finally(() => reads++) });
  await verifier.verify(textOf(), good(), []);
  const report = reportOf({ ...measureVm(files, parseVmConfig(textOf())), rtmr1: other() });
  assert.match(await code(verifier.verify(textOf(), report, [])), /MRs do not match: RTMR1 does not match/);
  assert.equal(reads, 2);
  assert.equal(await code(verifier.verify(textOf(), good(), [])), "accepted", "and what is kept stays right");
});

test("an image that could not be had is asked for again, and is not taken for a wrong one", async () => {
  const answers: (() => Promise<MeasuredImage>)[] = [
    () => Promise.reject(new ImageError("image-unavailable", "later")),
    () => Promise.reject(new ImageError("wrong-image", "evil")),
    () => Promise.resolve(image),
  ];
  const verifier = osImageVerifier({ imageOf: () => answers.shift()!() });
  assert.match(await code(verifier.verify(textOf(), good(), [])), /^image-unavailable: later/);
  assert.match(await code(verifier.verify(textOf(), good(), [])), /^image-mismatch: evil/);
  assert.equal(await code(verifier.verify(textOf(), good(), [])), "accepted");
});

test("who hangs up waits no longer for an image, and finds it when it comes again", async () => {
  const download = Promise.withResolvers<MeasuredImage>();
  let downloads = 0;
  const verifier = osImageVerifier({
    imageOf: () => {
      downloads++;
      return download.promise;
    },
  });
  const leaving = new AbortController();
  const gone = verifier.verify(textOf(), good(), [], leaving.signal);
  leaving.abort(new Error("hung up"));
  await assert.rejects(gone, /hung up/);
  const again = verifier.verify(textOf(), good(), [], new AbortController().signal);
  download.resolve(image);
  assert.equal(await code(again), "accepted");
  assert.equal(downloads, 1);
});

test("a configuration without an image, or of a machine that cannot be measured, is refused", async () => {
  const verifier = osImageVerifier({ imageOf: () => Promise.resolve(image) });
  assert.match(
    await code(verifier.verify(textOf({ os_image_hash: "" }), good(), [])),
    /^image-mismatch: .*names no OS image \(os_image_hash\)/,
  );
  assert.match(await code(verifier.verify("{", good(), [])), /^image-mismatch: the VM cannot be measured/);
  assert.match(
    await code(verifier.verify(textOf({ swtpm: true }), good(), [])),
    /^image-mismatch: the VM cannot be measured: .*swtpm/,
  );
});

test("the lite variant needs no image, but its document must be the image's and the ACPI tables ours (SECURITY D4: TDX lite and ACPI)", async () => {
  const document = tdxMeasurementCbor(files);
  const checksumFile = utf8(`${createHash("sha256").update(document).digest("hex")}  measurement.tdx.cbor\n`);
  const lite = (change: Partial<VmConfig> = {}): VmConfig => ({
    ...parseVmConfig(textOf()),
    osImageHash: hash32(createHash("sha256").update(checksumFile).digest()),
    attestationVariant: "lite",
    tdxMeasurement: { checksumFile, measurement: document },
    ...change,
  });
  const verifier = osImageVerifier({ imageOf: () => assert.fail("no download") });
  const log = (fill?: number): EventLogEntry[] => {
    const { loader, rsdp, tables } = acpiTables(machineOf(lite()));
    return [loader, rsdp, tables].map((blob) => ({
      imr: 0,
      eventType: 10,
      digest: fill === undefined ? createHash("sha384").update(blob).digest() : new Uint8Array(48).fill(fill),
      event: "",
      eventPayload: utf8("ACPI DATA"),
    }));
  };
  const expected = measureLite(lite(), log());
  const foreign = measureLite(lite(), log(7));
  assert.match(
    await code(verifier.verify(encodeVmConfig(lite()), reportOf(foreign), log(7))),
    /RTMR0 does not match/,
    "tables of somebody else, though the log has their digests",
  );
  assert.equal(await code(verifier.verify(encodeVmConfig(lite()), reportOf(expected), [])), "accepted");
  assert.match(
    await code(verifier.verify(encodeVmConfig(lite()), reportOf({ ...expected, rtmr0: other() }), [])),
    /RTMR0 does not match/,
  );
  assert.match(
    await code(
      verifier.verify(encodeVmConfig(lite({ osImageHash: hash32(new Uint8Array(32)) })), reportOf(expected), []),
    ),
    /tdx lite measurement material does not match os_image_hash/,
  );
  const { tdxMeasurement: _none, ...without } = lite();
  assert.match(
    await code(verifier.verify(encodeVmConfig(without), reportOf(expected), [])),
    /tdx lite attestation requires vm_config.tdx_measurement/,
  );
});
