/**
 * DCAP quotes, versions 3, 4 and 5 (Intel SGX and TDX DCAP quote library API, appendix A).
 *
 * quote   = header 48, [v5: u16 body type, u32 body size], body, u32 length, authentication data,
 *           any bytes (providers return buffers with a zero tail)
 * All integers little-endian.
 */
import { concatBytes, hash48, parseHex, readU16LE, readU32LE, reportData, utf8Decode } from "@dstack/bytes";
import type { Hash48, ReportData } from "@dstack/bytes";
import { Cursor } from "./cursor.ts";
import { AttestError, reading } from "./errors.ts";

export interface QuoteHeader {
  readonly version: 3 | 4 | 5;
  readonly attestationKeyType: number;
  readonly tee: "sgx" | "tdx";
  readonly qeSvn: number;
  readonly pceSvn: number;
  readonly qeVendorId: Uint8Array;
  /** 20 bytes; the first 16 name the quoting enclave of the platform. */
  readonly userData: Uint8Array;
}

/** What the TDX module says of a trust domain: TD report 1.0, and 1.5 where `version` is 1.5. */
export interface TdReport {
  readonly kind: "tdx";
  readonly version: 1 | 1.5;
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Hash48;
  readonly mrSignerSeam: Hash48;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: Uint8Array;
  readonly xfam: Uint8Array;
  readonly mrTd: Hash48;
  readonly mrConfigId: Hash48;
  readonly mrOwner: Hash48;
  readonly mrOwnerConfig: Hash48;
  readonly rtmr: readonly [Hash48, Hash48, Hash48, Hash48];
  readonly reportData: ReportData;
  /** Only in version 1.5. */
  readonly teeTcbSvn2?: Uint8Array;
  /** Only in version 1.5; not zero where another TD may migrate this one. */
  readonly mrServiceTd?: Hash48;
}

export interface EnclaveReport {
  readonly kind: "sgx";
  readonly raw: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly miscSelect: Uint8Array;
  readonly attributes: Uint8Array;
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly reportData: ReportData;
}

/** How the quoting enclave proves itself: the inner certification data. */
export type QeCertification =
  /** Leaf first, root last. */
  | { readonly kind: "pem-chain"; readonly pem: Uint8Array }
  /** The PCK certificate alone; what issued it comes from elsewhere. */
  | { readonly kind: "pem-leaf"; readonly pem: Uint8Array }
  | {
      readonly kind: "encrypted-ppid";
      readonly encryptedPpid: Uint8Array;
      readonly cpuSvn: Uint8Array;
      readonly pceSvn: number;
      readonly pceId: Uint8Array;
    };

export interface Quote {
  readonly header: QuoteHeader;
  readonly body: TdReport | EnclaveReport;
  /** Header and body as signed by the attestation key. */
  readonly signed: Uint8Array;
  /** r and s, 64 bytes. */
  readonly signature: Uint8Array;
  /** x and y, 64 bytes. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: EnclaveReport;
  readonly qeReportSignature: Uint8Array;
  readonly qeAuthData: Uint8Array;
  readonly certification: QeCertification;
}

const MAX_QUOTE_BYTES = 4 * 1024 * 1024;
const MAX_FIELD_BYTES = 1024 * 1024;
const TEE_TDX = 0x81;
const TD_REPORT_10 = 584;
const TD_REPORT_15 = 648;
const ENCLAVE_REPORT = 384;

/**
 * A quote's fields. Nothing is verified: see `verifyQuote`.
 * @throws AttestError `quote-malformed`, or `quote-unsupported` for other versions and TEEs
 */
export function parseQuote(bytes: Uint8Array): Quote {
  if (bytes.length > MAX_QUOTE_BYTES) {
    throw new AttestError("quote-malformed", `quote: ${bytes.length} bytes, limit ${MAX_QUOTE_BYTES}`);
  }
  const cursor = new Cursor(bytes, "quote", "quote-malformed");
  const header = readHeader(cursor);
  const body = readBody(cursor, header);
  const signed = bytes.subarray(0, cursor.offset);
  const authentication = takeField(cursor, "authentication data");
  return { header, body, signed, ...readAuthentication(authentication, header.version) };
}

/**
 * The quote in a file that holds it in binary or as hex text, in one line or many: the second byte of every version is zero.
 * @throws AttestError `quote-malformed`
 */
export function quoteBytesOf(file: Uint8Array): Uint8Array {
  if (file[1] === 0) return file;
  if (file.length > 2 * MAX_QUOTE_BYTES)
    throw new AttestError("quote-malformed", `quote: ${file.length} bytes of hex text, limit ${2 * MAX_QUOTE_BYTES}`);
  return reading("quote-malformed", "quote", () =>
    parseHex(utf8Decode(file, "hex text").trim().replace(/\r?\n/g, ""), "hex text"),
  );
}

/** The TD report of a quote. @throws AttestError `quote-unsupported` for an SGX quote */
export function tdReportOf(quote: Quote): TdReport {
  if (quote.body.kind !== "tdx") {
    throw new AttestError("quote-unsupported", "quote: expected a TDX quote, got an SGX one");
  }
  return quote.body;
}

/** TD report 1.0, or 1.5 with 64 bytes more, from its own bytes. */
export function parseTdReport(bytes: Uint8Array): TdReport {
  if (bytes.length !== TD_REPORT_10 && bytes.length !== TD_REPORT_15) {
    throw new AttestError(
      "quote-malformed",
      `TD report: ${bytes.length} bytes, expected ${TD_REPORT_10} or ${TD_REPORT_15}`,
    );
  }
  const at = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length);
  const register = (offset: number): Hash48 => hash48(at(offset, 48));
  return {
    kind: "tdx",
    version: bytes.length === TD_REPORT_15 ? 1.5 : 1,
    teeTcbSvn: at(0, 16),
    mrSeam: register(16),
    mrSignerSeam: register(64),
    seamAttributes: at(112, 8),
    tdAttributes: at(120, 8),
    xfam: at(128, 8),
    mrTd: register(136),
    mrConfigId: register(184),
    mrOwner: register(232),
    mrOwnerConfig: register(280),
    rtmr: [register(328), register(376), register(424), register(472)],
    reportData: reportData(at(520, 64)),
    ...(bytes.length === TD_REPORT_15 ? { teeTcbSvn2: at(584, 16), mrServiceTd: register(600) } : {}),
  };
}

function readHeader(cursor: Cursor): QuoteHeader {
  const version = cursor.u16("version");
  if (version !== 3 && version !== 4 && version !== 5) {
    throw new AttestError("quote-unsupported", `quote: version ${version}, expected 3, 4 or 5`);
  }
  const attestationKeyType = cursor.u16("attestation key type");
  // Version 3 has no TEE type; its reserved field must be zero, which reads as SGX.
  const teeType = cursor.u32("TEE type");
  if (teeType !== 0 && (teeType !== TEE_TDX || version === 3)) {
    throw new AttestError("quote-unsupported", `quote: TEE type 0x${teeType.toString(16)} in version ${version}`);
  }
  return {
    version,
    attestationKeyType,
    tee: teeType === TEE_TDX ? "tdx" : "sgx",
    qeSvn: cursor.u16("QE SVN"),
    pceSvn: cursor.u16("PCE SVN"),
    qeVendorId: cursor.take(16, "QE vendor id"),
    userData: cursor.take(20, "user data"),
  };
}

function readBody(cursor: Cursor, header: QuoteHeader): TdReport | EnclaveReport {
  if (header.version !== 5) {
    return header.tee === "tdx"
      ? parseTdReport(cursor.take(TD_REPORT_10, "TD report"))
      : readEnclaveReport(cursor.take(ENCLAVE_REPORT, "enclave report"));
  }
  const type = cursor.u16("body type");
  const size = cursor.u32("body size");
  const expected = type === 1 ? ENCLAVE_REPORT : type === 2 ? TD_REPORT_10 : type === 3 ? TD_REPORT_15 : undefined;
  if (expected === undefined || size !== expected || (type === 1) !== (header.tee === "sgx")) {
    throw cursor.fail(`body type ${type} of ${size} bytes does not fit TEE ${header.tee}`);
  }
  const body = cursor.take(size, "body");
  return type === 1 ? readEnclaveReport(body) : parseTdReport(body);
}

function readEnclaveReport(raw: Uint8Array): EnclaveReport {
  const at = (offset: number, length: number): Uint8Array => raw.subarray(offset, offset + length);
  return {
    kind: "sgx",
    raw,
    cpuSvn: at(0, 16),
    miscSelect: at(16, 4),
    attributes: at(48, 16),
    mrEnclave: at(64, 32),
    mrSigner: at(128, 32),
    isvProdId: readU16LE(raw, 256),
    isvSvn: readU16LE(raw, 258),
    reportData: reportData(at(320, 64)),
  };
}

type Authentication = Omit<Quote, "header" | "body" | "signed">;

function readAuthentication(bytes: Uint8Array, version: 3 | 4 | 5): Authentication {
  const cursor = new Cursor(bytes, "quote authentication data", "quote-malformed");
  const signature = cursor.take(64, "quote signature");
  const attestationKey = cursor.take(64, "attestation key");
  if (version === 3) return { signature, attestationKey, ...readQeCertification(cursor) };
  const type = cursor.u16("certification type");
  if (type !== 6) throw cursor.fail(`certification type ${type}, expected 6`);
  const inner = new Cursor(takeField(cursor, "certification data"), "QE certification data", "quote-malformed");
  cursor.end();
  return { signature, attestationKey, ...readQeCertification(inner) };
}

function readQeCertification(cursor: Cursor): Omit<Authentication, "signature" | "attestationKey"> {
  const qeReport = readEnclaveReport(cursor.take(ENCLAVE_REPORT, "QE report"));
  const qeReportSignature = cursor.take(64, "QE report signature");
  const qeAuthData = cursor.take(cursor.u16("QE authentication data length"), "QE authentication data");
  const type = cursor.u16("inner certification type");
  const data = takeField(cursor, "inner certification data");
  cursor.end();
  return { qeReport, qeReportSignature, qeAuthData, certification: readCertification(type, data) };
}

function readCertification(type: number, data: Uint8Array): QeCertification {
  if (type === 5) return { kind: "pem-chain", pem: data };
  if (type === 4) return { kind: "pem-leaf", pem: data };
  if (type === 2 || type === 3) {
    const length = type === 2 ? 256 : 384;
    if (data.length !== length + 20) {
      throw new AttestError(
        "quote-malformed",
        `quote: encrypted PPID data of ${data.length} bytes, expected ${length + 20}`,
      );
    }
    return {
      kind: "encrypted-ppid",
      encryptedPpid: data.subarray(0, length),
      cpuSvn: data.subarray(length, length + 16),
      pceSvn: readU16LE(data, length + 16),
      pceId: data.subarray(length + 18, length + 20),
    };
  }
  throw new AttestError("quote-unsupported", `quote: inner certification type ${type}, expected 2, 3, 4 or 5`);
}

function takeField(cursor: Cursor, name: string): Uint8Array {
  const length = cursor.u32(`${name} length`);
  if (length > MAX_FIELD_BYTES) throw cursor.fail(`${name}: ${length} bytes, limit ${MAX_FIELD_BYTES}`);
  return cursor.take(length, name);
}

/** 64 bytes x and y as an uncompressed SEC1 point. */
export function uncompressedPoint(xy: Uint8Array): Uint8Array {
  return concatBytes(Uint8Array.of(4), xy);
}

/** TDATTRIBUTES or SEAMATTRIBUTES as the 64-bit little-endian number they are. */
export function attributesAsNumber(bytes: Uint8Array): bigint {
  return (BigInt(readU32LE(bytes, 4)) << 32n) | BigInt(readU32LE(bytes, 0));
}
