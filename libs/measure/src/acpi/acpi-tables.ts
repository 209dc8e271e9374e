import { concatBytes, u32le, utf8 } from "@dstack/bytes";
import type { Machine } from "../machine.ts";
import { dsdtBody } from "./dsdt.ts";
import { loaderScript } from "./loader.ts";
import type { PlacedTable } from "./loader.ts";
import { madtBody } from "./madt.ts";
import { facs, fadt, mcfg, rsdt, srat, table, waet } from "./tables.ts";

/** What firmware reads from QEMU's fw_cfg and measures, as it stands before checksums are filled in. */
export interface AcpiTables {
  /** `etc/acpi/tables`, a multiple of 128 KiB */
  readonly tables: Uint8Array;
  /** `etc/acpi/rsdp`, 20 bytes */
  readonly rsdp: Uint8Array;
  /** `etc/table-loader`, a multiple of 4 KiB */
  readonly loader: Uint8Array;
  /** Where each table is in `tables`. */
  readonly layout: readonly PlacedTable[];
}

const BLOB_ALIGNMENT = 0x2_0000;

/** The ACPI files of a machine, byte for byte as its QEMU version makes them. */
export function acpiTables(machine: Machine): AcpiTables {
  const layout: PlacedTable[] = [];
  const parts: Uint8Array[] = [];
  let end = 0;
  const place = (bytes: Uint8Array): number => {
    const offset = end;
    layout.push({ signature: String.fromCharCode(...bytes.subarray(0, 4)), offset, length: bytes.length });
    parts.push(bytes);
    end += bytes.length;
    return offset;
  };

  place(facs());
  const dsdt = place(table("DSDT", 1, dsdtBody(machine)));
  const listed = [place(fadt(machine, dsdt)), place(table("APIC", 3, madtBody(machine)))];
  if (machine.numaNodes > 0) listed.push(place(srat(machine)));
  listed.push(place(mcfg()), place(waet()));
  const root = place(rsdt(listed));

  return {
    tables: concatBytes(...parts, new Uint8Array(-end & (BLOB_ALIGNMENT - 1))),
    rsdp: concatBytes(utf8("RSD PTR \0BOCHS \0"), u32le(root)),
    loader: loaderScript(layout),
    layout,
  };
}
