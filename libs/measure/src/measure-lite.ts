/**
 * Lite measurement: the registers from the image's measurement document in the VM
 * configuration, without the image. The document gives what depends on the image; the ACPI
 * digests come from the guest's own log, whose replay must give the quoted RTMR0. So the
 * contents of the ACPI tables are not checked, all else is.
 */
import { equalBytes, hash48, utf8 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { acpiTables } from "./acpi/acpi-tables.ts";
import { rtmr1Events, rtmr2Events } from "./boot-events.ts";
import type { LoggedEvent } from "./compare.ts";
import { MeasureError } from "./errors.ts";
import { eventType } from "./event-types.ts";
import { RELEASED_CONFIGURATION, firmwareEvents, ovmfVariant } from "./firmware-events.ts";
import type { AcpiDigests } from "./firmware-events.ts";
import { machineOf, SPLIT_MEMORY_BYTES } from "./machine.ts";
import { measurementOf, mrtdPass } from "./measure-vm.ts";
import type { VmMeasurement } from "./measure-vm.ts";
import { sha384 } from "./sha.ts";
import { tdHob } from "./td-hob.ts";
import { checkMaterialBinding, parseTdxMeasurement } from "./tdx-measurement.ts";
import type { VmConfig } from "./vm-config.ts";

const TWO_GIB = 0x8000_0000;
const ACPI_NAMES = ["acpi-loader", "acpi-rsdp", "acpi-tables"] as const;
const ACPI_PAYLOAD = utf8("ACPI DATA");

/**
 * What a TDX quote of this VM must show, by its own measurement document.
 *
 * @param config with `osImageHash` and `tdxMeasurement`
 * @param log the guest's event log; only its three ACPI digests are used
 * @throws MeasureError `material-unbound` when the document is missing or is not that of the
 *   image, `event-log-unusable` without exactly three ACPI events, `unsupported` for memory sizes
 *   that the document does not cover, `vm-config-invalid`, `measurement-document-invalid`
 */
export function measureLite(config: VmConfig, log: readonly LoggedEvent[]): VmMeasurement {
  const { osImageHash, tdxMeasurement, memoryBytes } = config;
  if (osImageHash === undefined)
    throw new MeasureError("material-unbound", "vm_config os_image_hash: expected 32 bytes, got none");
  if (tdxMeasurement === undefined) {
    throw new MeasureError("material-unbound", "tdx lite attestation requires vm_config.tdx_measurement, got none");
  }
  const binding = checkMaterialBinding(tdxMeasurement, osImageHash);
  if (!binding.bound) {
    throw new MeasureError(
      "material-unbound",
      `tdx lite measurement material does not match os_image_hash: ${binding.reason}`,
    );
  }
  const document = parseTdxMeasurement(tdxMeasurement.measurement);
  if (ovmfVariant(config.ovmfVariant) !== "pre202505") {
    throw new MeasureError(
      "unsupported",
      `ovmf_variant: expected pre202505, which lite documents describe, got ${config.ovmfVariant}`,
    );
  }
  if (memoryBytes !== TWO_GIB && memoryBytes < SPLIT_MEMORY_BYTES) {
    throw new MeasureError(
      "unsupported",
      `memory_size: expected ${TWO_GIB} or at least ${SPLIT_MEMORY_BYTES} for tdx lite attestation, got ${memoryBytes}; verify with the image`,
    );
  }
  const imr0 = firmwareEvents("pre202505", {
    hobDigest: sha384(tdHob(document.tdHob, memoryBytes)),
    hobAddress: document.tdHob.hobAddress,
    configuration: RELEASED_CONFIGURATION,
    acpi: acpiDigestsIn(log),
  });
  return measurementOf(mrtdPass(config) === "two" ? document.mrtdTwoPass : document.mrtdSinglePass, {
    imr0,
    imr1: rtmr1Events(document.kernelAuthenticode, 0),
    imr2: rtmr2Events(document.cmdlineSha384, document.initrdSha384),
  });
}

/**
 * The ACPI events that a VM of this configuration logs: `measureLite` with these takes nothing from the guest.
 * @throws MeasureError `vm-config-invalid`, `unsupported` for machines whose tables are not modelled
 */
export function acpiEvents(config: VmConfig): readonly LoggedEvent[] {
  const { loader, rsdp, tables } = acpiTables(machineOf(config));
  return [loader, rsdp, tables].map((blob) => ({
    imr: 0,
    eventType: eventType.platformConfigFlags,
    digest: sha384(blob),
  }));
}

/**
 * The digests of the three ACPI events that a guest's log tells of.
 * @throws MeasureError `event-log-unusable` without exactly these three
 */
export function acpiDigestsIn(log: readonly LoggedEvent[]): AcpiDigests {
  const events = log.filter(({ imr, eventType: type }) => imr === 0 && type === eventType.platformConfigFlags);
  if (events.length !== ACPI_NAMES.length) {
    throw unusable("three ACPI events in register 0", `${events.length}`);
  }
  const digestOf = (i: 0 | 1 | 2): Hash48 => {
    const { digest, event = "", eventPayload = ACPI_PAYLOAD } = events[i] ?? { digest: new Uint8Array(0) };
    const name = ACPI_NAMES[i];
    if (event !== "" && event !== name) throw unusable(`the event ${name}`, JSON.stringify(event.slice(0, 40)));
    if (!equalBytes(eventPayload, ACPI_PAYLOAD))
      throw unusable(`ACPI DATA as the data of ${name}`, `${eventPayload.length} other bytes`);
    if (digest.length !== 48) throw unusable(`48 bytes as the digest of ${name}`, `${digest.length}`);
    return hash48(digest);
  };
  return { loader: digestOf(0), rsdp: digestOf(1), tables: digestOf(2) };
}

const unusable = (expected: string, got: string): MeasureError =>
  new MeasureError("event-log-unusable", `event log: expected ${expected}, got ${got}`);
