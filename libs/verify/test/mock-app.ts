/** Evidence of a made-up app on a made-up image, signed under a mock root: for tests of verifiers. */
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseHex, toHex, utf8, type ReportData } from "@dstack/bytes";
import {
  encodeAttestation,
  encodeEventLogJson,
  encodeKeyProviderInfo,
  padReportData,
  replayRtmr3,
  runtimeEntries,
  type Attestation,
  type EventLogEntry,
  type RuntimeEvent,
} from "@dstack/attest";
import { CHECKSUM_ORDER, formatChecksumFile, makeMrBundle } from "@dstack/image";
import { measureVm, parseVmConfig, type TcgEvent, type VmFiles, type VmMeasurement } from "@dstack/measure";
import {
  mockCollateral,
  mockPki,
  parseSeed,
  signMockQuote,
  type MockPki,
  type TdMeasurements,
} from "@dstack/tee-simulator";
import { files as fixtureFiles } from "../../measure/test/fixtures.ts";

export const NOW = Date.UTC(2030, 5, 15) / 1000;
export const APP_ID = "a1".repeat(20);
export const INSTANCE_ID = "1d".repeat(20);
export const MANIFEST = JSON.stringify({
  manifest_version: 2,
  name: "app",
  runner: "docker-compose",
  docker_compose_file: `services:\n  web:\n    image: hello@sha256:${"ab".repeat(32)}\n`,
  key_provider: "kms",
  kms_enabled: true,
});

export interface MockImage {
  readonly dir: string;
  readonly files: VmFiles;
  /** Hex. */
  readonly hash: string;
}

export interface EvidenceOptions {
  readonly pki?: MockPki;
  readonly manifest?: string;
  readonly reportData?: ReportData;
  readonly vmConfig?: Record<string, unknown>;
  readonly events?: (usual: RuntimeEvent[]) => RuntimeEvent[];
  readonly td?: (usual: TdMeasurements) => TdMeasurements;
  readonly keyProvider?: { readonly name: string; readonly id: string };
}

export interface MockEvidence {
  readonly attestation: Attestation;
  readonly vmConfig: string;
  readonly measured: VmMeasurement;
}

export const newPki = (seed = "5a".repeat(32)): MockPki => mockPki(parseSeed(seed));
export const collateralAt = (pki: MockPki, now = NOW): ReturnType<typeof mockCollateral> => mockCollateral(pki, now);

/** An image folder of small files in the right form, and its bundle below `bundles`. */
export async function makeImage(folder: string): Promise<MockImage> {
  const files = fixtureFiles();
  const dir = join(folder, "dstack-sim-0.6.0");
  await mkdir(dir, { recursive: true });
  await mkdir(join(folder, "bundles"), { recursive: true });
  const metadata = {
    bios: "ovmf.fd",
    kernel: "bzImage",
    initrd: "initramfs.cpio.gz",
    cmdline: files.cmdline,
    version: "0.6.0",
    is_dev: true,
  };
  const contents: Record<string, Uint8Array> = {
    "ovmf.fd": files.firmware,
    bzImage: files.kernel,
    "initramfs.cpio.gz": files.initrd,
    "metadata.json": utf8(JSON.stringify(metadata)),
  };
  for (const [name, bytes] of Object.entries(contents)) await writeFile(join(dir, name), bytes);
  const sums = formatChecksumFile(
    CHECKSUM_ORDER.filter((name) => name in contents).map((name) => ({ name, sha256: sha256(contents[name]!) })),
  );
  await writeFile(join(dir, "sha256sum.txt"), sums);
  await makeMrBundle(dir, join(folder, "bundles"));
  return { dir, files, hash: sha256(typeof sums === "string" ? utf8(sums) : sums) };
}

/** Evidence as a guest of this image gives it. */
export function makeEvidence(image: MockImage, options: EvidenceOptions = {}): MockEvidence {
  const {
    pki = newPki(),
    manifest = MANIFEST,
    reportData = padReportData(new Uint8Array(0)),
    keyProvider = { name: "kms", id: "3059" },
  } = options;
  const vmConfig = JSON.stringify({
    spec_version: 1,
    os_image_hash: image.hash,
    cpu_count: 2,
    memory_size: 2 ** 31,
    qemu_version: "9.1.0",
    ...options.vmConfig,
  });
  const {
    os_image_hash: _hash,
    tdx_attestation_variant: _variant,
    ...machine
  } = JSON.parse(vmConfig) as Record<string, unknown>;
  const measured = measureVm(image.files, parseVmConfig(JSON.stringify(machine)));
  const event = (name: string, payload: Uint8Array = new Uint8Array()): RuntimeEvent => ({ event: name, payload });
  const usual = [
    event("system-preparing"),
    event("app-id", parseHex(APP_ID)),
    event("compose-hash", parseHex(sha256(utf8(manifest)))),
    event("instance-id", parseHex(INSTANCE_ID)),
    event("boot-mr-done"),
    event("key-provider", encodeKeyProviderInfo(keyProvider)),
    event("system-ready"),
  ];
  const runtimeEvents = options.events?.(usual) ?? usual;
  const td: TdMeasurements = {
    mrTd: measured.mrtd,
    rtmr: [measured.rtmr0, measured.rtmr1, measured.rtmr2, replayRtmr3(runtimeEvents)],
    mrConfigId: new Uint8Array(48) as TdMeasurements["mrConfigId"],
  };
  const quote = signMockQuote(pki, options.td?.(td) ?? td, reportData);
  const firmware = (events: readonly TcgEvent[]): EventLogEntry[] =>
    events.map(({ imr, eventType, digest }) => ({ imr, eventType, digest, event: "", eventPayload: new Uint8Array() }));
  const { imr0, imr1, imr2 } = measured.events;
  const eventLog = [...firmware(imr0), ...firmware(imr1), ...firmware(imr2), ...runtimeEntries(runtimeEvents)];
  return {
    attestation: { platform: { kind: "tdx", quote, eventLog }, runtimeEvents, reportData, config: vmConfig },
    vmConfig,
    measured,
  };
}

/** The forms in which evidence is sent. */
export function wireForms({ attestation, vmConfig }: MockEvidence): {
  readonly quote: Record<string, string>;
  readonly attestation: Record<string, string>;
} {
  return {
    quote: {
      quote: toHex(attestation.platform.quote),
      event_log: encodeEventLogJson(attestation.platform.eventLog),
      vm_config: vmConfig,
    },
    attestation: { attestation: toHex(encodeAttestation(attestation)) },
  };
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
