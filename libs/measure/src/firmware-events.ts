/**
 * The events by which the firmware fills RTMR0, in order. What varies comes in as digests;
 * the rest is fixed by the firmware's build, of which released images carry two.
 */
import { concatBytes, hash48, parseHex, u64le, utf8 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { LOADER_FILE, RSDP_FILE, TABLES_FILE } from "./acpi/loader.ts";
import { MeasureError } from "./errors.ts";
import { eventType } from "./event-types.ts";
import { guidBytes } from "./guid.ts";
import { measuredBytes, separator } from "./rtmr.ts";
import type { TcgEvent } from "./rtmr.ts";
import { utf16le } from "./utf16.ts";

/** Which firmware build: `stable202505` is that of image 0.5.10 only. */
export type OvmfVariant = "pre202505" | "stable202505";

/** SHA-384 of the three fw_cfg files with ACPI tables. */
export interface AcpiDigests {
  readonly loader: Hash48;
  readonly rsdp: Hash48;
  readonly tables: Hash48;
}

/** What RTMR0 depends on beside the firmware's build. */
export interface FirmwareInputs {
  readonly hobDigest: Hash48;
  readonly hobAddress: number;
  readonly configuration: ConfigurationVolume;
  readonly acpi: AcpiDigests;
}

/** The firmware volume with its variables: what the firmware file has, where it is in memory. */
export interface ConfigurationVolume {
  readonly digest: Hash48;
  readonly address: number;
  readonly rawBytes: number;
}

/** That of every released firmware, for measurements that do without the firmware file. */
export const RELEASED_CONFIGURATION: ConfigurationVolume = {
  digest: hash48(
    parseHex("344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790"),
  ),
  address: 0xffc0_0000,
  rawBytes: 0x8_4000,
};

const GLOBAL_VARIABLE = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const IMAGE_SECURITY_DATABASE = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const HANDOFF_TABLE_POINTERS = "93bb96af-b9f2-4eb8-9462-e0ba74564236";
const SMBIOS3_TABLE = "f2fd1544-9794-4a2c-992e-e5bbcf20e394";

/** Secure boot is not set up: the variables are measured with their names only. */
const SECURE_BOOT_VARIABLES = [
  [GLOBAL_VARIABLE, "SecureBoot"],
  [GLOBAL_VARIABLE, "PK"],
  [GLOBAL_VARIABLE, "KEK"],
  [IMAGE_SECURITY_DATABASE, "db"],
  [IMAGE_SECURITY_DATABASE, "dbx"],
] as const;

const SETUP_MENU = "462caa21-7614-4503-836e-8ab6f4662331";
const BOOT_MANAGER_MENU = "eec25bdc-67f2-4d95-b1d5-f81b2039d11d";
const NO_BOOT_MENU = Uint8Array.of(0, 0);
const DIRECT_KERNEL_BOOT = utf8("/rom@genroms/linuxboot_dma.bin\0");
/**
 * The SMBIOS tables as the one machine had them that this constant was taken from: other
 * shapes of VM have others, and then the register differs.
 */
const SMBIOS_DIGEST = hash48(
  parseHex("fb66919801f1dfc9c4c273b6a739380790cb0fd3cb706a42f6ac050510ebc8618e7fba53a1564522f5c6f0dc9e1f41a6"),
);

/** @throws MeasureError `unsupported` for another name */
export function ovmfVariant(name: string = "pre202505"): OvmfVariant {
  if (name === "pre202505" || name === "stable202505") return name;
  throw new MeasureError(
    "unsupported",
    `ovmf_variant: expected pre202505 or stable202505, got ${JSON.stringify(name.slice(0, 40))}`,
  );
}

export function firmwareEvents(
  variant: OvmfVariant,
  { hobDigest, hobAddress, configuration, acpi }: FirmwareInputs,
): readonly TcgEvent[] {
  return [
    {
      imr: 0,
      eventType: eventType.efiHandoffTables2,
      digest: hobDigest,
      data: handoffData(hobAddress),
      label: "TD HOB",
    },
    {
      imr: 0,
      eventType: eventType.efiFirmwareBlob2,
      digest: configuration.digest,
      data: firmwareBlobData(configuration),
      label: "firmware configuration volume",
    },
    ...(variant === "stable202505"
      ? [fwCfgEvent("BootMenu", NO_BOOT_MENU), fwCfgEvent("bootorder", DIRECT_KERNEL_BOOT)]
      : []),
    ...SECURE_BOOT_VARIABLES.map(([guid, name]) => variableDeclaration(guid, name)),
    separator(0),
    acpiEvent(LOADER_FILE, acpi.loader),
    acpiEvent(RSDP_FILE, acpi.rsdp),
    acpiEvent(TABLES_FILE, acpi.tables),
    ...bootEvents(variant),
  ];
}

function bootEvents(variant: OvmfVariant): readonly TcgEvent[] {
  if (variant === "pre202505") {
    return [
      bootVariable("BootOrder", Uint8Array.of(0, 0)),
      bootVariable("Boot0000", loadOption(0x109, "UiApp", SETUP_MENU)),
    ];
  }
  return [
    {
      imr: 0,
      eventType: eventType.efiHandoffTables,
      digest: SMBIOS_DIGEST,
      data: smbiosData(),
      label: "SMBIOS tables",
    },
    bootVariable("BootOrder", Uint8Array.of(0, 0, 1, 0)),
    bootVariable("Boot0000", loadOption(0x109, "BootManagerMenuApp", BOOT_MANAGER_MENU)),
    bootVariable("Boot0001", loadOption(0x101, "EFI Firmware Setup", SETUP_MENU)),
  ];
}

const acpiEvent = (file: string, digest: Hash48): TcgEvent => ({
  imr: 0,
  eventType: eventType.platformConfigFlags,
  digest,
  data: utf8("ACPI DATA"),
  label: file,
});

/** FW_CFG_EVENT: a fixed text, then the file's name in 56 characters. */
function fwCfgEvent(file: string, content: Uint8Array): TcgEvent {
  const data = concatBytes(utf8("QEMU FW CFG\0"), utf8(file), new Uint8Array(56 - file.length));
  return measuredBytes(0, eventType.platformConfigFlags, `fw_cfg ${file}`, content, data);
}

/** UEFI_VARIABLE_DATA: GUID, name length in characters, data length, name, data. */
const variableData = (guid: string, name: string, data: Uint8Array): Uint8Array =>
  concatBytes(guidBytes(guid), u64le(BigInt(name.length)), u64le(BigInt(data.length)), utf16le(name), data);

function variableDeclaration(guid: string, name: string): TcgEvent {
  const data = variableData(guid, name, new Uint8Array(0));
  return measuredBytes(0, eventType.efiVariableDriverConfig, `variable ${name}`, data, data);
}

/** Boot variables are logged with their names but measured without. */
function bootVariable(name: string, value: Uint8Array): TcgEvent {
  return measuredBytes(
    0,
    eventType.efiVariableBoot,
    `variable ${name}`,
    value,
    variableData(GLOBAL_VARIABLE, name, value),
  );
}

/** EFI_LOAD_OPTION: attributes, length of the device path, description; volume node, file node, end node. */
const loadOption = (attributes: number, description: string, file: string): Uint8Array =>
  concatBytes(
    Uint8Array.of(attributes & 0xff, attributes >> 8, 0, 0, 0x2c, 0),
    utf16le(`${description}\0`),
    parseHex("04071400c9bdb87cebf8344faaea3ee4af6516a1"),
    parseHex("04061400"),
    guidBytes(file),
    parseHex("7fff0400"),
  );

/** UEFI_HANDOFF_TABLE_POINTERS2: description, number of tables, GUID and address of the table. */
const handoffData = (address: number): Uint8Array =>
  concatBytes(described("TdxTable"), u64le(1n), guidBytes(HANDOFF_TABLE_POINTERS), u64le(BigInt(address)));

/** UEFI_HANDOFF_TABLE_POINTERS; the firmware's heap decides the address, so it stays 0. */
const smbiosData = (): Uint8Array => concatBytes(u64le(1n), guidBytes(SMBIOS3_TABLE), u64le(0n));

/** UEFI_PLATFORM_FIRMWARE_BLOB2: description, base, length. TDVF names no volume GUID here. */
const firmwareBlobData = ({ address, rawBytes }: ConfigurationVolume): Uint8Array =>
  concatBytes(described("Fv(XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX)"), u64le(BigInt(address)), u64le(BigInt(rawBytes)));

const described = (text: string): Uint8Array => concatBytes(Uint8Array.of(text.length + 1), utf8(`${text}\0`));
