import { visible } from "../terminal/output.ts";
import type { Field, Fields } from "./describe.ts";

const LONG_HEX = 200;
const SHOWN_HEX = 64;

/** Nested fields for people, one a line, indented. Long hex is cut: JSON output has it whole. */
export function fieldLines(fields: Fields, indent = ""): string[] {
  return Object.entries(fields).flatMap(([name, value]) => lines(visible(name), value, indent));
}

function lines(name: string, value: Field, indent: string): string[] {
  if (Array.isArray(value)) {
    const items = value as readonly Field[];
    if (items.length === 0) return [`${indent}${name}: none`];
    return [
      `${indent}${name}: ${items.length}`,
      ...items.flatMap((item, index) => lines(`[${index}]`, item, `${indent}  `)),
    ];
  }
  if (typeof value === "object" && value !== null)
    return [`${indent}${name}:`, ...fieldLines(value as Fields, `${indent}  `)];
  return [`${indent}${name}: ${scalar(value as string | number | boolean | null)}`];
}

function scalar(value: string | number | boolean | null): string {
  if (value === null) return "none";
  if (value === "") return "(empty)";
  if (typeof value === "string" && value.length > LONG_HEX && /^[0-9a-f]+$/.test(value))
    return `${value.slice(0, SHOWN_HEX)}... (${value.length / 2} bytes)`;
  return visible(String(value));
}
