import {
  decodeAttestation,
  parseCertificate,
  parseQuote,
  recogniseUnsupported,
  unsupportedEvidence,
  type Attestation,
  type Quote,
} from "@dstack/attest";
import { equalBytes, parseHex, parseJson, utf8, utf8Decode } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import { decodeCsr, RatlsError, readDstackExtensions, type Csr, type DstackExtensions } from "@dstack/ratls";

/** What a file of evidence turned out to be. Nothing in it is verified. */
export type Evidence =
  | { readonly kind: "quote"; readonly quote: Quote; readonly bytes: Uint8Array }
  | { readonly kind: "attestation"; readonly version: 0 | 1; readonly attestation: Attestation }
  | { readonly kind: "certificate"; readonly certificates: readonly [DstackExtensions, ...DstackExtensions[]] }
  | { readonly kind: "certificate request"; readonly apiVersion: 1 | 2; readonly csr: Csr };

const MAX_CERTIFICATES = 16;
/** How a request begins: the length and text of its confirm word. */
const CSR_START = utf8("\x44please sign cert:");

/**
 * Recognises evidence by its content: binary, hex, PEM, or JSON with an `attestation` or `quote` in hex.
 * @returns undefined where it is none of these
 * @throws AttestError, DerError, BytesError, RatlsError where it is one and broken, or of a platform that is not supported
 */
export function readEvidence(bytes: Uint8Array): Evidence | undefined {
  const unsupported = recogniseUnsupported(bytes);
  if (unsupported !== undefined) throw unsupportedEvidence(unsupported);
  const text = textOf(bytes);
  if (text === undefined) return fromBinary(bytes);
  if (text.includes("-----BEGIN CERTIFICATE-----")) return certificates(readPem(text, "CERTIFICATE", "certificate"));
  const digits = text.replace(/\s+/g, "");
  if (/^(?:0x)?(?:[0-9a-fA-F]{2})+$/.test(digits)) return fromBinary(parseHex(digits));
  const value = jsonOf(text);
  for (const key of ["attestation", "quote"]) {
    const field = value?.[key];
    if (typeof field === "string" && field !== "") return fromBinary(parseHex(field, key));
  }
  return undefined;
}

/** The attestation inside, where there is one. */
export function attestationOf(evidence: Evidence): Attestation | undefined {
  switch (evidence.kind) {
    case "quote":
      return undefined;
    case "attestation":
      return evidence.attestation;
    case "certificate":
      return evidence.certificates[0].attestation;
    case "certificate request":
      return evidence.csr.attestation();
  }
}

function fromBinary(bytes: Uint8Array): Evidence | undefined {
  const unsupported = recogniseUnsupported(bytes);
  if (unsupported !== undefined) throw unsupportedEvidence(unsupported);
  const [first = -1, second = -1] = bytes;
  if (first === 0x30) return certificates([bytes]);
  if (equalBytes(bytes.subarray(0, CSR_START.length), CSR_START)) return request(bytes);
  if (first >= 3 && first <= 5 && second === 0) return { kind: "quote", quote: parseQuote(bytes), bytes };
  if (first === 0) return { kind: "attestation", version: 0, attestation: decodeAttestation(bytes) };
  if ((first & 0xf0) === 0x80 || first === 0xde || first === 0xdf)
    return { kind: "attestation", version: 1, attestation: decodeAttestation(bytes) };
  return undefined;
}

function certificates(ders: readonly Uint8Array[]): Evidence {
  const [leaf, ...rest] = ders.slice(0, MAX_CERTIFICATES).map((der) => {
    parseCertificate(der); // Its own refusal says more than that of the extensions' reader.
    return readDstackExtensions(der);
  });
  if (leaf === undefined || ders.length > MAX_CERTIFICATES)
    throw new RatlsError(
      "extension-malformed",
      `certificate chain: ${ders.length} certificates, expected 1 to ${MAX_CERTIFICATES}`,
    );
  return { kind: "certificate", certificates: [leaf, ...rest] };
}

/** The bytes do not say their version: what reads as version 2 is, for its evidence goes to the very end. */
function request(bytes: Uint8Array): Evidence {
  try {
    return { kind: "certificate request", apiVersion: 2, csr: decodeCsr(2, bytes) };
  } catch (error) {
    if (!(error instanceof RatlsError)) throw error;
    try {
      return { kind: "certificate request", apiVersion: 1, csr: decodeCsr(1, bytes) };
    } catch (older) {
      if (!(older instanceof RatlsError)) throw older;
      throw error;
    }
  }
}

/** The file as text, or undefined where it holds bytes that no text does. */
export function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.some((byte) => byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)) return undefined;
  try {
    return utf8Decode(bytes);
  } catch {
    return undefined;
  }
}

/** A JSON object or array, or undefined. */
export function jsonOf(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = parseJson(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
