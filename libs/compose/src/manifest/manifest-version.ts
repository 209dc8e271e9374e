import { ComposeError } from "../errors.ts";
import type { StrictJson } from "./strict-json.ts";

/** Highest manifest version that this system understands. */
export const MAX_MANIFEST_VERSION = 3;

/**
 * `manifest_version`: the numbers 1 and 2, or a canonical positive integer as a string. A newer
 * version is a string so that guests which know only numbers refuse to start.
 * @throws ComposeError `manifest-invalid`
 */
export function parseManifestVersion(value: StrictJson | undefined): number {
  if (value === undefined) throw refused("missing field `manifest_version`");
  if (typeof value === "bigint") {
    if (value < 0n) throw refused(`manifest_version must be a positive integer, got ${value}`);
    if (value !== 1n && value !== 2n)
      throw refused(`numeric manifest_version is only for legacy versions 1 and 2, got ${value}; write it as a string`);
    return Number(value);
  }
  if (typeof value !== "string") throw refused("manifest_version must be 1, 2 or a string");
  const text = value.trim();
  if (text === "") throw refused("manifest_version must not be empty");
  if (!/^\+?\d{1,10}$/.test(text) || Number(text) > 0xffff_ffff)
    throw refused(`manifest_version must be a positive integer string, got "${text.slice(0, 40)}"`);
  if (Number(text) === 0) throw refused("manifest_version must be greater than 0");
  if (text !== String(Number(text)))
    throw refused(`manifest_version must be a canonical integer string, got "${text}"`);
  return Number(text);
}

const refused = (message: string): ComposeError => new ComposeError("manifest-invalid", message);
