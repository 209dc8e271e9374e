/**
 * The events by which firmware (RTMR0), boot manager (RTMR1) and Linux loader (RTMR2) fill
 * the registers, each register's events in order. What varies comes in as arguments; the
 * rest is fixed by the firmware that every image but 0.5.10 carries ("pre202505").
 */
import { concatBytes, parseHex, u32le, u64le, utf8 } from "@dstack/bytes";
import type { AcpiTables } from "./acpi/acpi-tables.ts";
import { LOADER_FILE, RSDP_FILE, TABLES_FILE } from "./acpi/loader.ts";
import { authenticodeParts } from "./authenticode.ts";
import { eventType } from "./event-types.ts";
import { guidBytes } from "./guid.ts";
import type { TcgEvent } from "./rtmr.ts";
import { sha384 } from "./sha.ts";
import { sectionData } from "./tdvf.ts";
import type { TdvfSection } from "./tdvf.ts";
import { utf16le } from "./utf16.ts";

const GLOBAL_VARIABLE = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const IMAGE_SECURITY_DATABASE = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const HANDOFF_TABLE_POINTERS = "93bb96af-b9f2-4eb8-9462-e0ba74564236";
const KERNEL_LOADER_FILES = "1428f772-b64a-441e-b8c3-9ebdd7f893c7";

/** Secure boot is not set up: the variables are measured with their names only. */
const SECURE_BOOT_VARIABLES = [
  [GLOBAL_VARIABLE, "SecureBoot"],
  [GLOBAL_VARIABLE, "PK"],
  [GLOBAL_VARIABLE, "KEK"],
  [IMAGE_SECURITY_DATABASE, "db"],
  [IMAGE_SECURITY_DATABASE, "dbx"],
] as const;

const BOOT_ORDER = Uint8Array.of(0, 0);
/** EFI_LOAD_OPTION of the firmware's setup menu: attributes, path length, "UiApp", volume and file node, end node. */
const BOOT_0000 = concatBytes(
  parseHex("090100002c00"),
  utf16le("UiApp\0"),
  parseHex("04071400c9bdb87cebf8344faaea3ee4af6516a1"),
  parseHex("0406140021aa2c4614760345836e8ab6f4662331"),
  parseHex("7fff0400"),
);

const LOAD_OPTIONS_TAG = 0x8f3b_22ed;
const INITRD_TAG = 0x8f3b_22ec;

/** What the boot manager appends to the command line of `-append`. */
const INITRD_OPTION = " initrd=initrd";

/** @param hob as `tdHob` makes it, at `hobAddress` */
export function rtmr0Events(
  firmware: Uint8Array,
  configuration: TdvfSection,
  hob: Uint8Array,
  hobAddress: number,
  acpi: AcpiTables,
): readonly TcgEvent[] {
  return [
    event(0, eventType.efiHandoffTables2, "TD HOB", hob, handoffData(hobAddress)),
    event(
      0,
      eventType.efiFirmwareBlob2,
      "firmware configuration volume",
      sectionData(firmware, configuration),
      firmwareBlobData(configuration),
    ),
    ...SECURE_BOOT_VARIABLES.map(([guid, name]) => variableDeclaration(guid, name)),
    separator(0),
    acpiEvent(LOADER_FILE, acpi.loader),
    acpiEvent(RSDP_FILE, acpi.rsdp),
    acpiEvent(TABLES_FILE, acpi.tables),
    bootVariable("BootOrder", BOOT_ORDER),
    bootVariable("Boot0000", BOOT_0000),
  ];
}

/** @param kernel as the firmware gets it, with QEMU's header patches */
export function rtmr1Events(kernel: Uint8Array): readonly TcgEvent[] {
  return [
    {
      imr: 1,
      eventType: eventType.efiBootServicesApplication,
      digest: sha384(...authenticodeParts(kernel)),
      data: imageLoadData(kernel.length),
      label: "kernel",
    },
    action("Calling EFI Application from Boot Option"),
    separator(1),
    action("Exit Boot Services Invocation"),
    action("Exit Boot Services Returned with Success"),
  ];
}

/** @param cmdline as given to `-append` */
export function rtmr2Events(cmdline: string, initrd: Uint8Array): readonly TcgEvent[] {
  return [
    event(2, eventType.tagged, "kernel command line", loadOptions(cmdline), taggedData(LOAD_OPTIONS_TAG, "LOADED_IMAGE::LoadOptions")),
    event(2, eventType.tagged, "initrd", initrd, taggedData(INITRD_TAG, "Linux initrd")),
  ];
}

/** The command line as the kernel's EFI stub gets it and the loader measures it. */
export const loadOptions = (cmdline: string): Uint8Array => utf16le(`${cmdline}${INITRD_OPTION}\0`);

function event(imr: number, type: number, label: string, measured: Uint8Array, data: Uint8Array): TcgEvent {
  return { imr, eventType: type, digest: sha384(measured), data, label };
}

function separator(imr: number): TcgEvent {
  const zeros = new Uint8Array(4);
  return event(imr, eventType.separator, "separator", zeros, zeros);
}

function action(text: string): TcgEvent {
  return event(1, eventType.efiAction, text, utf8(text), utf8(text));
}

const acpiEvent = (file: string, content: Uint8Array): TcgEvent =>
  event(0, eventType.platformConfigFlags, file, content, utf8("ACPI DATA"));

/** UEFI_VARIABLE_DATA: GUID, name length in characters, data length, name, data. */
const variableData = (guid: string, name: string, data: Uint8Array): Uint8Array =>
  concatBytes(guidBytes(guid), u64le(BigInt(name.length)), u64le(BigInt(data.length)), utf16le(name), data);

function variableDeclaration(guid: string, name: string): TcgEvent {
  const data = variableData(guid, name, new Uint8Array(0));
  return event(0, eventType.efiVariableDriverConfig, `variable ${name}`, data, data);
}

/** Boot variables are logged with their names but measured without. */
function bootVariable(name: string, value: Uint8Array): TcgEvent {
  return event(0, eventType.efiVariableBoot, `variable ${name}`, value, variableData(GLOBAL_VARIABLE, name, value));
}

/** UEFI_HANDOFF_TABLE_POINTERS2: description, number of tables, GUID and address of the table. */
const handoffData = (address: number): Uint8Array =>
  concatBytes(described("TdxTable"), u64le(1n), guidBytes(HANDOFF_TABLE_POINTERS), u64le(BigInt(address)));

/** UEFI_PLATFORM_FIRMWARE_BLOB2: description, base, length. TDVF names no volume GUID here. */
const firmwareBlobData = ({ address, rawBytes }: TdvfSection): Uint8Array =>
  concatBytes(described("Fv(XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX)"), u64le(BigInt(address)), u64le(BigInt(rawBytes)));

function described(text: string): Uint8Array {
  return concatBytes(Uint8Array.of(text.length + 1), utf8(`${text}\0`));
}

/**
 * UEFI_IMAGE_LOAD_EVENT: location, length, link address, device path. Where the firmware
 * loads the kernel depends on its heap, so the location stays 0.
 */
function imageLoadData(kernelBytes: number): Uint8Array {
  const fileName = utf16le("kernel\0");
  const path = concatBytes(
    parseHex("04031400"),
    guidBytes(KERNEL_LOADER_FILES),
    Uint8Array.of(0x04, 0x04, 4 + fileName.length, 0x00),
    fileName,
    parseHex("7fff0400"),
  );
  return concatBytes(u64le(0n), u64le(BigInt(kernelBytes)), u64le(0n), u64le(BigInt(path.length)), path);
}

const taggedData = (tag: number, text: string): Uint8Array =>
  concatBytes(u32le(tag), u32le(text.length + 1), utf8(`${text}\0`));
