import { randomBytes } from "node:crypto";
import { mockPlatform, parseSeed, type MockPlatform } from "@dstack/tee-simulator";

/**
 * Platforms under the root of a seed that no collateral server knows: whoever has evidence of one
 * makes a verifier ask. More of them than are asked about at a time.
 */
export function unknownPlatforms(seed: string, count = 36): readonly MockPlatform[] {
  return Array.from({ length: count }, () => mockPlatform(parseSeed(seed), new Uint8Array(randomBytes(6))));
}
