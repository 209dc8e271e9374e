import { device, name } from "./aml.ts";
import type { Term } from "./aml.ts";

/** A function on the root bus; its name is its device and function number in hex. */
export function pciFunction(slot: number, fn: number, ...body: readonly Term[]): Term {
  return device(`S${hexByte(slot * 8 + fn)}`, name("_ADR", slot * 0x1_0000 + fn), ...body);
}

export const hexByte = (value: number): string => value.toString(16).toUpperCase().padStart(2, "0");
