/**
 * Certificate signing requests, SCALE:
 * confirm text, public key bytes (SPKI DER), config, evidence.
 * config    = organization option<text>, subject text, alt names list<text>, server auth bool,
 *             client auth bool, evidence in certificate bool;
 *             version 2 adds app info bool, not before option<u64>, not after option<u64>
 * evidence  = version 1: quote bytes, event log bytes (JSON); version 2: an attestation, to the end
 */
import { createPublicKey, sign, verify } from "node:crypto";
import {
  concatBytes,
  scaleBool,
  scaleBytes,
  scaleList,
  scaleOption,
  ScaleReader,
  scaleText,
  u64le,
  utf8Decode,
} from "@dstack/bytes";
import { attestationFromQuote, decodeAttestation, encodeAttestation, quoteOfAttestation } from "@dstack/attest";
import type { Attestation } from "@dstack/attest";
import { pointFromSpki, privateKeyObject, spkiDer, type P256Key } from "@dstack/keys";
import { asRefusal, isCoded } from "@dstack/errors";
import { RatlsError } from "./errors.ts";

export interface CsrConfig {
  readonly organization?: string;
  readonly subject: string;
  readonly altNames: readonly string[];
  readonly serverAuth: boolean;
  readonly clientAuth: boolean;
  /** Put the evidence into the certificate. */
  readonly withEvidence: boolean;
  /** Put the app info into the certificate. */
  readonly withAppInfo: boolean;
  /** Unix seconds. */
  readonly notBefore?: number;
  readonly notAfter?: number;
}

export interface Csr {
  readonly confirm: string;
  /** SubjectPublicKeyInfo, as sent. */
  readonly publicKeyInfo: Uint8Array;
  readonly config: CsrConfig;
  /** Claimed evidence: verify it against `publicKeyInfo` before believing it. @throws RatlsError `csr-malformed`, `evidence-unsupported` */
  readonly attestation: () => Attestation;
  /**
   * The quote, where a log beside it is so long that it should hold before anything of the rest is
   * looked at: whoever has no genuine platform must not have megabytes read and hashed.
   */
  readonly quoteAhead?: Uint8Array;
  /** What the signature covers. */
  readonly signed: Uint8Array;
}

const CONFIRM = "please sign cert:";
const MAX_ALT_NAMES = 128;
/** Several times the log of an ordinary app; reading less costs no more than checking a quote does. */
const LONG_LOG_BYTES = 256 * 1024;
const MAX_CSR_BYTES = 10 * 1024 * 1024;
/** 9999-12-31T23:59:59Z, the last moment that a certificate can name. */
const LAST_MOMENT = 253_402_300_799n;

/** A request of version 2. @throws RatlsError, AttestError `attestation-unencodable` */
export function encodeCsrV2(request: {
  readonly publicKeyInfo: Uint8Array;
  readonly config: CsrConfig;
  readonly attestation: Attestation;
}): Uint8Array {
  const { config } = request;
  return concatBytes(
    head(request.publicKeyInfo, config),
    scaleBool(config.withAppInfo),
    scaleOption(config.notBefore, (seconds) => u64le(BigInt(seconds))),
    scaleOption(config.notAfter, (seconds) => u64le(BigInt(seconds))),
    encodeAttestation(request.attestation),
  );
}

/** A request of version 1, for key servers older than 0.5.6. App info and dates cannot be asked for. */
export function encodeCsrV1(request: {
  readonly publicKeyInfo: Uint8Array;
  readonly config: CsrConfig;
  readonly quote: Uint8Array;
  readonly eventLogJson: string;
}): Uint8Array {
  return concatBytes(
    head(request.publicKeyInfo, request.config),
    scaleBytes(request.quote),
    scaleText(request.eventLogJson),
  );
}

/**
 * Reads a request. `apiVersion` 0 and 1 are version 1, 2 is version 2.
 * @throws RatlsError `csr-malformed`, `evidence-unsupported`
 */
export function decodeCsr(apiVersion: number, bytes: Uint8Array): Csr {
  if (apiVersion > 2) throw new RatlsError("csr-malformed", `Unsupported API version: ${apiVersion}`);
  if (bytes.length > MAX_CSR_BYTES)
    throw new RatlsError("csr-malformed", `certificate request: ${bytes.length} bytes, limit ${MAX_CSR_BYTES}`);
  const reader = new ScaleReader(
    bytes,
    "certificate request",
    (text, cause) => new RatlsError("csr-malformed", text, { cause }),
  );
  const confirm = reader.text("confirm");
  const publicKeyInfo = reader.bytes("public key");
  const organization = reader.option("organization", () => reader.text("organization"));
  const subject = reader.text("subject");
  const altNames = reader.list("alternative names", MAX_ALT_NAMES, 1, () => reader.text("alternative name"));
  const serverAuth = reader.bool("server auth");
  const clientAuth = reader.bool("client auth");
  const withEvidence = reader.bool("evidence in certificate");
  const isV2 = apiVersion === 2;
  const withAppInfo = isV2 && reader.bool("app info in certificate");
  const notBefore = isV2 ? reader.option("not before", () => moment(reader.u64("not before"))) : undefined;
  const notAfter = isV2 ? reader.option("not after", () => moment(reader.u64("not after"))) : undefined;
  const evidence = isV2 ? evidenceV2(reader) : evidenceV1(reader);
  return {
    confirm,
    publicKeyInfo,
    config: {
      subject,
      altNames,
      serverAuth,
      clientAuth,
      withEvidence,
      withAppInfo,
      ...(organization === undefined ? {} : { organization }),
      ...(notBefore === undefined ? {} : { notBefore }),
      ...(notAfter === undefined ? {} : { notAfter }),
    },
    ...evidence,
    signed: bytes,
  };
}

/** DER ECDSA signature of the request by the key that it names. */
export function signCsr(csr: Uint8Array, key: P256Key): Uint8Array {
  return new Uint8Array(sign("sha256", csr, { key: privateKeyObject(key), dsaEncoding: "der" }));
}

/**
 * That the request was signed by the key it names and meant as a request. Returns the key's
 * uncompressed point.
 * @throws RatlsError `csr-refused`
 */
export function verifyCsr(csr: Csr, signature: Uint8Array): Uint8Array {
  const point = publicPoint(csr.publicKeyInfo);
  const key = createPublicKey({ key: Buffer.from(spkiDer(point)), format: "der", type: "spki" });
  if (!verify("sha256", csr.signed, { key, dsaEncoding: "der" }, signature))
    throw new RatlsError("csr-refused", "Invalid signature");
  if (csr.confirm !== CONFIRM) throw new RatlsError("csr-refused", "Invalid confirm word");
  return point;
}

function publicPoint(publicKeyInfo: Uint8Array): Uint8Array {
  let type: string | undefined;
  try {
    type = createPublicKey({ key: Buffer.from(publicKeyInfo), format: "der", type: "spki" }).asymmetricKeyType;
  } catch (cause) {
    throw new RatlsError("csr-refused", "Failed to parse pubkey", { cause });
  }
  if (type !== "ec") throw new RatlsError("csr-refused", "Unsupported algorithm");
  return asRefusal(
    () => pointFromSpki(publicKeyInfo),
    (cause) => new RatlsError("csr-refused", "Failed to parse pki", { cause }),
  );
}

function head(publicKeyInfo: Uint8Array, config: CsrConfig): Uint8Array {
  return concatBytes(
    scaleText(CONFIRM),
    scaleBytes(publicKeyInfo),
    scaleOption(config.organization, scaleText),
    scaleText(config.subject),
    scaleList(config.altNames, scaleText),
    scaleBool(config.serverAuth),
    scaleBool(config.clientAuth),
    scaleBool(config.withEvidence),
  );
}

type Evidence = Pick<Csr, "attestation" | "quoteAhead">;

function evidenceV1(reader: ScaleReader): Evidence {
  const quote = reader.bytes("quote");
  const log = reader.bytes("event log");
  reader.end();
  // Read when it is asked for: the signature is checked, and a wrong confirm word named, before that.
  return {
    attestation: () => readEvidence(() => attestationFromQuote(quote, utf8Decode(log, "event log"))),
    ...(log.length > LONG_LOG_BYTES ? { quoteAhead: quote } : {}),
  };
}

function evidenceV2(reader: ScaleReader): Evidence {
  const bytes = reader.rest();
  if (bytes.length > LONG_LOG_BYTES)
    return {
      attestation: () => readEvidence(() => decodeAttestation(bytes)),
      quoteAhead: readEvidence(() => quoteOfAttestation(bytes)),
    };
  const attestation = readEvidence(() => decodeAttestation(bytes));
  return { attestation: () => attestation };
}

function readEvidence<T>(read: () => T): T {
  return asRefusal(read, (cause) => {
    if (cause instanceof RatlsError) return undefined;
    return isCoded(cause, "platform-unsupported")
      ? new RatlsError("evidence-unsupported", cause.message, { cause })
      : new RatlsError("csr-malformed", "certificate request: attestation cannot be read", { cause });
  });
}

// Any 64-bit number may come; one that no certificate can carry must not get further (DS #1232).
function moment(seconds: bigint): number {
  if (seconds > LAST_MOMENT)
    throw new RatlsError("csr-malformed", `certificate request: date ${seconds} is after the year 9999`);
  return Number(seconds);
}
