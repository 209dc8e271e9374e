/** Digests of the tables that a real QEMU gave for each case, so that they are compared also where there is no QEMU. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { sha384 } from "../src/sha.ts";

export const recordFile: string = join(import.meta.dirname, "vectors/qemu-tables.json");

/** SHA-384 of tables, rsdp and loader by the case's name. */
export interface QemuRecord {
  readonly qemu_version: string;
  readonly sha384: Readonly<Record<string, readonly string[]>>;
}

export const readRecord = (): QemuRecord => JSON.parse(readFileSync(recordFile, "utf8")) as QemuRecord;

export const digests = ({
  tables,
  rsdp,
  loader,
}: {
  tables: Uint8Array;
  rsdp: Uint8Array;
  loader: Uint8Array;
}): readonly string[] => [tables, rsdp, loader].map((blob) => toHex(sha384(blob)));
