/**
 * QEMU's table loader: a script of 128-byte commands by which firmware places the ACPI
 * blobs in memory, patches the pointers between them and fills in checksums.
 */
import { concatBytes, u32le, utf8 } from "@dstack/bytes";

/** A table's place in the tables blob. */
export interface PlacedTable {
  readonly signature: string;
  readonly offset: number;
  readonly length: number;
}

export const TABLES_FILE = "etc/acpi/tables";
export const RSDP_FILE = "etc/acpi/rsdp";
export const LOADER_FILE = "etc/table-loader";

const COMMAND_LENGTH = 128;
const NAME_LENGTH = 56;
const SCRIPT_ALIGNMENT = 4096;
const HIGH_ZONE = 1;
const FSEG_ZONE = 2;
const CHECKSUM_OFFSET = 9;
const HEADER_LENGTH = 36;
const RSDP_LENGTH = 20;

/** @param tables in the order of the blob: FACS, DSDT, FACP, ..., RSDT */
export function loaderScript(tables: readonly PlacedTable[]): Uint8Array {
  const listed = tables.filter(({ signature }) => !["FACS", "DSDT", "RSDT"].includes(signature));
  const commands: Uint8Array[] = [allocate(RSDP_FILE, 16, FSEG_ZONE), allocate(TABLES_FILE, 64, HIGH_ZONE)];
  for (const table of tables) {
    if (table.signature === "FACS") continue;
    if (table.signature === "FACP") {
      for (const [field, size] of [
        [36, 4],
        [40, 4],
        [140, 8],
      ] as const) {
        commands.push(pointer(TABLES_FILE, table.offset + field, size));
      }
    }
    if (table.signature === "RSDT") {
      listed.forEach((_, i) => commands.push(pointer(TABLES_FILE, table.offset + HEADER_LENGTH + 4 * i, 4)));
    }
    commands.push(checksum(TABLES_FILE, table.offset + CHECKSUM_OFFSET, table.offset, table.length));
  }
  commands.push(pointer(RSDP_FILE, 16, 4), checksum(RSDP_FILE, 8, 0, RSDP_LENGTH));
  const script = concatBytes(...commands);
  return concatBytes(script, new Uint8Array(-script.length & (SCRIPT_ALIGNMENT - 1)));
}

const allocate = (file: string, alignment: number, zone: number): Uint8Array =>
  command(1, fileName(file), u32le(alignment), Uint8Array.of(zone));

/** Adds the address of the tables blob to the field. */
const pointer = (file: string, offset: number, size: number): Uint8Array =>
  command(2, fileName(file), fileName(TABLES_FILE), u32le(offset), Uint8Array.of(size));

const checksum = (file: string, offset: number, start: number, length: number): Uint8Array =>
  command(3, fileName(file), u32le(offset), u32le(start), u32le(length));

const command = (code: number, ...fields: readonly Uint8Array[]): Uint8Array =>
  padded(concatBytes(u32le(code), ...fields), COMMAND_LENGTH);

const fileName = (name: string): Uint8Array => padded(utf8(name), NAME_LENGTH);

const padded = (bytes: Uint8Array, length: number): Uint8Array =>
  concatBytes(bytes, new Uint8Array(length - bytes.length));
