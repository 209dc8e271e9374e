import { parseHex, toHex, utf8 } from "@dstack/bytes";
import { AttestError, decodeAttestation, encodeEventLogJson, fullEventLog } from "@dstack/attest";
import type { JsonObject } from "@dstack/rpc";

/**
 * Adds `quote` and `eventlog` (hex) to the JSON of a bootstrap answer: the registration tasks of
 * 0.5.5 want them, and newer ones ignore them.
 */
export function withLegacyEvidence(json: JsonObject): JsonObject {
  const { attestation } = json;
  if (typeof attestation !== "string" || attestation === "") return { ...json, quote: "", eventlog: "" };
  try {
    const decoded = decodeAttestation(parseHex(attestation));
    return {
      ...json,
      quote: toHex(decoded.platform.quote),
      eventlog: toHex(utf8(encodeEventLogJson(fullEventLog(decoded)))),
    };
  } catch (error) {
    // A file that another release wrote: its own members stand.
    if (error instanceof AttestError) return { ...json, quote: "", eventlog: "" };
    throw error;
  }
}
