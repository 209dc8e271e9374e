/** One table of evidence before verifier and KMS: where their verdicts differ, one setting says so. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { hash32, hash48, utf8, type Hash48 } from "@dstack/bytes";
import type { EventLogEntry, TdReport } from "@dstack/attest";
import {
  acpiEvents,
  encodeVmConfig,
  measureLite,
  measureVm,
  parseVmConfig,
  tdxMeasurementCbor,
  type Registers,
  type VmConfig,
} from "@dstack/measure";
import { verifyOsImage, type FoundImage, type OsImageInput } from "@dstack/verify";
import { files as fixtureFiles } from "../../../libs/measure/test/fixtures.ts";
import { osImageVerifier } from "../src/image/os-image-verifier.ts";

const files = fixtureFiles();
const document = tdxMeasurementCbor(files);
const checksumFile = utf8(`${createHash("sha256").update(document).digest("hex")}  measurement.tdx.cbor\n`);
const HASH = hash32(createHash("sha256").update(checksumFile).digest());
const legacy: VmConfig = {
  ...parseVmConfig('{"cpu_count":2,"memory_size":2147483648,"qemu_version":"8.2.2"}'),
  osImageHash: HASH,
};
const lite: VmConfig = {
  ...legacy,
  attestationVariant: "lite",
  tdxMeasurement: { checksumFile, measurement: document },
};
const other: Hash48 = hash48(new Uint8Array(48).fill(9));
const image: FoundImage = { kind: "files", files, metadata: {} as never };

/** The log of a guest whose ACPI tables are ours, or somebody else's. */
const acpiLog = (fill?: number): EventLogEntry[] =>
  acpiEvents(legacy).map((own) => ({
    ...own,
    digest: fill === undefined ? own.digest : new Uint8Array(48).fill(fill),
    event: "",
    eventPayload: utf8("ACPI DATA"),
  }));

const full = measureVm(files, legacy);
const computed = measureLite(lite, acpiLog());
const foreign = measureLite(lite, acpiLog(7));

interface Row {
  readonly config: VmConfig;
  readonly registers: Registers;
  readonly log?: EventLogEntry[];
  readonly found?: FoundImage;
  readonly verifier: boolean;
  readonly kms: boolean;
}

const nothing: FoundImage = { kind: "absent", reason: "the download failed" };
const { tdxMeasurement: _none, ...without } = lite;
const rows: Readonly<Record<string, Row>> = {
  "an image's own registers": { config: legacy, registers: full, verifier: true, kms: true },
  "another firmware": { config: legacy, registers: { ...full, mrtd: other }, verifier: false, kms: false },
  "other hardware": { config: legacy, registers: { ...full, rtmr0: other }, verifier: false, kms: false },
  "another kernel": { config: legacy, registers: { ...full, rtmr1: other }, verifier: false, kms: false },
  "another command line": { config: legacy, registers: { ...full, rtmr2: other }, verifier: false, kms: false },
  "an image that is not at hand": { config: legacy, registers: full, found: nothing, verifier: false, kms: false },
  "an image that is another one": {
    config: legacy,
    registers: full,
    found: { kind: "wrong", reason: "bzImage differs" },
    verifier: false,
    kms: false,
  },
  "a configuration without an image": {
    config: { ...legacy, osImageHash: undefined } as unknown as VmConfig,
    registers: full,
    verifier: false,
    kms: false,
  },
  "a machine that is not modelled, in the full form": {
    config: { ...legacy, swtpm: true },
    registers: full,
    verifier: false,
    kms: false,
  },
  "lite evidence with the tables that we compute": {
    config: lite,
    registers: computed,
    log: acpiLog(),
    verifier: true,
    kms: true,
  },
  "the same without a log": { config: lite, registers: computed, verifier: true, kms: true },
  "lite evidence with other tables, of which only the log tells": {
    config: lite,
    registers: foreign,
    log: acpiLog(7),
    verifier: true,
    kms: false,
  },
  "lite evidence of a machine that is not modelled": {
    config: { ...lite, swtpm: true },
    registers: foreign,
    log: acpiLog(7),
    verifier: true,
    kms: false,
  },
  "lite evidence with tables that the log does not tell of": {
    config: lite,
    registers: foreign,
    log: acpiLog(8),
    verifier: false,
    kms: false,
  },
  "lite evidence with another kernel": {
    config: lite,
    registers: { ...computed, rtmr1: other },
    log: acpiLog(),
    verifier: false,
    kms: false,
  },
  "lite evidence with the document of another image": {
    config: { ...lite, osImageHash: hash32(new Uint8Array(32)) },
    registers: computed,
    log: acpiLog(),
    verifier: false,
    kms: false,
  },
  "lite evidence without a document": {
    config: without,
    registers: computed,
    log: acpiLog(),
    verifier: false,
    kms: false,
  },
};

for (const [what, { config, registers, log = [], found = image, verifier, kms }] of Object.entries(rows)) {
  const says = (ok: boolean): string => (ok ? "yes" : "no");
  test(`to ${what} the verifier says ${says(verifier)} and the KMS ${says(kms)}`, async () => {
    const { mrtd, rtmr0, rtmr1, rtmr2 } = registers;
    const report = { mrTd: mrtd, rtmr: [rtmr0, rtmr1, rtmr2, other] } as unknown as TdReport;
    const images = { find: () => Promise.resolve(found) };
    const vmConfig = encodeVmConfig(config);
    const verdict = async (acpiTables: OsImageInput["acpiTables"]): Promise<boolean> =>
      (await verifyOsImage({ report, eventLog: log, vmConfig, images, acpiTables })).ok;
    const released = osImageVerifier(images).verify(vmConfig, report, log);
    assert.equal(await verdict("computed-or-logged"), verifier);
    assert.equal(
      await released.then(
        () => true,
        () => false,
      ),
      kms,
    );
    assert.equal(await verdict("computed"), kms, "nothing but the setting makes the difference");
    assert.ok(verifier || !kms, "the KMS never takes what the verifier refuses");
  });
}
