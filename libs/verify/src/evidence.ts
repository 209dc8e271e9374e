/**
 * Evidence as it travels in JSON: answers of guest agents, requests to verifiers.
 * {"attestation": hex} or {"quote": hex, "event_log": JSON text}, and "vm_config": JSON text; other members are ignored,
 * null is absent. Hex has no prefix.
 */
import {
  AttestError,
  attestationFromQuote,
  decodeAttestation,
  MAX_ATTESTATION_BYTES,
  type Attestation,
} from "@dstack/attest";
import { BytesError, parseBareHex } from "@dstack/bytes";
import { VerifyError } from "./errors.ts";

export interface Evidence {
  readonly attestation: Attestation;
  /** JSON text; "" where the evidence has none. */
  readonly vmConfig: string;
}

/**
 * Evidence from a parsed JSON object. An attestation wins over quote, event log and VM
 * configuration, but for a configuration that it does not have itself.
 * @throws VerifyError `evidence-malformed`; AttestError `platform-unsupported` and whatever else its readers refuse
 */
export function evidenceFromJson(value: unknown): Evidence {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("expected a JSON object");
  const fields = value as Record<string, unknown>;
  const text = (name: string): string => {
    const field = Object.hasOwn(fields, name) ? (fields[name] ?? "") : "";
    if (typeof field !== "string")
      throw malformed(`${name}: expected text, got ${Array.isArray(field) ? "an array" : typeof field}`);
    return field;
  };
  const vmConfig = text("vm_config");
  // An attestation of no bytes is one that cannot be read: the quote beside it does not stand in for it.
  if ((fields["attestation"] ?? undefined) !== undefined) {
    const attestationHex = text("attestation");
    const attestation = decodeAttestation(bytes(attestationHex, "attestation"));
    return { attestation, vmConfig: attestation.config === "" ? vmConfig : attestation.config };
  }
  const quote = text("quote");
  if (quote === "") throw malformed("neither attestation nor quote is given");
  const eventLog = text("event_log");
  if (eventLog === "") throw malformed("quote is given without event_log");
  return { attestation: attestationFromQuote(bytes(quote, "quote"), eventLog, vmConfig), vmConfig };
}

/** What evidence is refused with, as one text; undefined for errors that are not about evidence. */
export function evidenceRefusal(error: unknown): string | undefined {
  return error instanceof VerifyError || error instanceof AttestError || error instanceof BytesError
    ? error.message
    : undefined;
}

function bytes(hex: string, name: string): Uint8Array {
  if (hex.length > 2 * MAX_ATTESTATION_BYTES + 2)
    throw malformed(`${name}: ${hex.length} hex digits, at most ${2 * MAX_ATTESTATION_BYTES} are read`);
  try {
    return parseBareHex(hex, name);
  } catch (cause) {
    throw new VerifyError("evidence-malformed", `evidence: ${name} is not hex`, { cause });
  }
}

const malformed = (text: string): VerifyError => new VerifyError("evidence-malformed", `evidence: ${text}`);
