/**
 * From the files of a guest image and a VM configuration to what a TDX quote of that VM
 * must show: MRTD and RTMR0 to RTMR2, with the event log that explains them.
 *
 * Pure: bytes in, bytes out. No file, network, clock or random number is used.
 */
export { MeasureError } from "./errors.ts";
export type { MeasureErrorCode } from "./errors.ts";
export { encodeVmConfig, parseVmConfig } from "./vm-config.ts";
export type { MeasurementMaterial, VmConfig } from "./vm-config.ts";
export { machineOf } from "./machine.ts";
export type { HardwareOptions, Machine, PciExpander } from "./machine.ts";
export { qemuVersionIn } from "./qemu-profile.ts";
export type { AcpiProfile } from "./qemu-profile.ts";
export { acpiTables } from "./acpi/acpi-tables.ts";
export type { AcpiTables } from "./acpi/acpi-tables.ts";
export type { PlacedTable } from "./acpi/loader.ts";
export { measureVm } from "./measure-vm.ts";
export type { BootEvents, MeasureOptions, Registers, VmFiles, VmMeasurement } from "./measure-vm.ts";
export { acpiDigestsIn, acpiEvents, measureLite } from "./measure-lite.ts";
export { replayRtmr } from "./rtmr.ts";
export type { TcgEvent } from "./rtmr.ts";
export { buildCcel } from "./ccel.ts";
export {
  TDX_MEASUREMENT_FILE,
  checkMaterialBinding,
  parseTdxMeasurement,
  tdxMeasurementCbor,
} from "./tdx-measurement.ts";
export type { MaterialBinding, TdxMeasurement } from "./tdx-measurement.ts";
export type { TdHobLayout } from "./td-hob.ts";
export { checkVm, compareMeasurements } from "./compare.ts";
export type { LoggedEvent, RegisterDifference, VmCheck } from "./compare.ts";
