import { createHash, sign } from "node:crypto";
import { concatBytes, parseHex, u16le, u32le, utf8 } from "@dstack/bytes";
import type { Hash48, ReportData } from "@dstack/bytes";
import { generateP256, privateKeyObject } from "@dstack/keys";
import type { P256Key } from "@dstack/keys";
import type { MockPlatform } from "./mock-pki.ts";

/** What a simulated trust domain was measured to be. */
export interface TdMeasurements {
  readonly mrTd: Hash48;
  readonly rtmr: readonly [Hash48, Hash48, Hash48, Hash48];
  readonly mrConfigId: Hash48;
}

const INTEL_QE_VENDOR = parseHex("939a7233f79c4ca9940a0db3957f0607");
/** SEPT_VE_DISABLE and nothing else. */
const TD_ATTRIBUTES = parseHex("0000001000000000");

/** What a simulated enclave was measured to be. */
export interface EnclaveMeasurements {
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
}

export interface MockQuoteOptions {
  /** 16 bytes that name the machine's quoting enclave: zeros, the one mock machine, unless given. */
  readonly qeId?: Uint8Array;
}

/**
 * A version 4 TDX quote in the layout of the real thing, signed by a fresh attestation key that the
 * mock platform vouches for. It verifies only under the mock root.
 */
export function signMockQuote(
  platform: MockPlatform,
  td: TdMeasurements,
  reportData: ReportData,
  options: MockQuoteOptions = {},
): Uint8Array {
  const signedPart = concatBytes(header(4, 0x81, options), tdReport(td, reportData));
  return authenticated(platform, signedPart, (certification) =>
    concatBytes(u16le(6), u32le(certification.length), certification),
  );
}

/** A version 3 SGX quote of an enclave on the same mock machine, likewise. */
export function signMockEnclaveQuote(
  platform: MockPlatform,
  enclave: EnclaveMeasurements,
  reportData: ReportData,
  options: MockQuoteOptions = {},
): Uint8Array {
  const signedPart = concatBytes(header(3, 0, options), enclaveReport(enclave, reportData));
  return authenticated(platform, signedPart, (certification) => certification);
}

/** The signed part with the authentication data after it; `wrap` puts the certification where the version wants it. */
function authenticated(
  platform: MockPlatform,
  signedPart: Uint8Array,
  wrap: (certification: Uint8Array) => Uint8Array,
): Uint8Array {
  const attestationKey = generateP256();
  const attestationPoint = attestationKey.publicPoint.subarray(1);
  const qeAuthData = new Uint8Array(32);
  const qeReport = quotingEnclaveReport(sha256(concatBytes(attestationPoint, qeAuthData)));
  const chain = utf8(platform.pckChainPem);
  const certification = concatBytes(
    qeReport,
    ecdsa(platform.pckKey, qeReport),
    u16le(qeAuthData.length),
    qeAuthData,
    u16le(5),
    u32le(chain.length),
    chain,
  );
  const authentication = concatBytes(ecdsa(attestationKey, signedPart), attestationPoint, wrap(certification));
  return concatBytes(signedPart, u32le(authentication.length), authentication);
}

function header(version: 3 | 4, tee: number, { qeId = new Uint8Array(16) }: MockQuoteOptions): Uint8Array {
  return concatBytes(
    u16le(version),
    u16le(2),
    u32le(tee),
    u16le(1),
    u16le(0),
    INTEL_QE_VENDOR,
    qeId,
    new Uint8Array(4),
  );
}

function tdReport({ mrTd, mrConfigId, rtmr }: TdMeasurements, reportData: ReportData): Uint8Array {
  const zeros = (length: number): Uint8Array => new Uint8Array(length);
  return concatBytes(
    zeros(16),
    zeros(48),
    zeros(48),
    zeros(8), // TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES
    TD_ATTRIBUTES,
    zeros(8), // TDATTRIBUTES, XFAM
    mrTd,
    mrConfigId,
    zeros(48),
    zeros(48), // MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG
    ...rtmr,
    reportData,
  );
}

/** The quoting enclave: `bound` is what it vouches for, the attestation key's hash. */
const quotingEnclaveReport = (bound: Uint8Array): Uint8Array =>
  enclaveReport({ mrEnclave: new Uint8Array(32), mrSigner: new Uint8Array(32).fill(0x44) }, bound);

function enclaveReport({ mrEnclave, mrSigner }: EnclaveMeasurements, bound: Uint8Array): Uint8Array {
  const report = new Uint8Array(384);
  report.set(mrEnclave, 64);
  report.set(mrSigner, 128);
  report.set(u16le(1), 256); // ISVPRODID
  report.set(u16le(1), 258); // ISVSVN
  report.set(bound, 320); // REPORTDATA
  return report;
}

function ecdsa(key: P256Key, message: Uint8Array): Uint8Array {
  return new Uint8Array(sign("sha256", message, { key: privateKeyObject(key), dsaEncoding: "ieee-p1363" }));
}

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha256").update(bytes).digest());
