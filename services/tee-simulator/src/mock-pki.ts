/**
 * A stand-in for Intel's provisioning PKI, all of it derived from one seed: root, PCK authority, PCK
 * leaf, signers of TCB info and QE identity. Signatures are deterministic (RFC 6979), so the same
 * seed gives the same bytes everywhere.
 */
import { p256 } from "@noble/curves/nist.js";
import { concatBytes, utf8 } from "@dstack/bytes";
import {
  derBitString,
  derBoolean,
  derContext,
  derElement,
  derEnumerated,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
  TAG,
  writePem,
} from "@dstack/der";
import { spkiDer } from "@dstack/keys";
import type { P256Key } from "@dstack/keys";
import { OID, SGX_EXTENSION } from "@dstack/attest";
import { mockKey } from "./mock-key.ts";
import type { MockKeyLabel, MockSeed } from "./mock-key.ts";

/** The part of the PKI that a simulated platform carries: enough to sign quotes. */
export interface MockPlatform {
  readonly rootPem: string;
  /** PEM, leaf first, root last. */
  readonly pckChainPem: string;
  readonly pckKey: P256Key;
}

export interface MockPki extends MockPlatform {
  readonly pckCaChainPem: string;
  readonly tcbChainPem: string;
  readonly qeChainPem: string;
  /** DER. */
  readonly rootCrl: Uint8Array;
  readonly pckCrl: Uint8Array;
  /** Signs a TCB info or QE identity document; r and s, 64 bytes. */
  signDocument(signer: "tdx-tcb" | "tdx-qe", text: string): Uint8Array;
}

const NAMES: Readonly<Record<MockKeyLabel, string>> = {
  "tdx-root": "Mock Intel SGX Root CA",
  "tdx-pck-ca": "Mock Intel SGX PCK Platform CA",
  "tdx-pck": "Mock Intel SGX PCK Certificate",
  "tdx-tcb": "Mock Intel SGX TCB Signing",
  "tdx-qe": "Mock Intel SGX QE Identity Signing",
};
const NOT_BEFORE = Date.UTC(2020, 0, 1) / 1000;
const NOT_AFTER = Date.UTC(2100, 0, 1) / 1000;
const SERIAL = 42;

/** The platform of a seed; with another FMSPC (6 bytes) one that its collateral is not for. */
export function mockPlatform(seed: MockSeed, fmspc: Uint8Array = new Uint8Array(6)): MockPlatform {
  const rootPem = certificate(seed, "tdx-root", "tdx-root", authority());
  const pckChainPem =
    certificate(seed, "tdx-pck", "tdx-pck-ca", [...leaf(), sgxExtension(fmspc)]) + pckAuthority(seed) + rootPem;
  return { rootPem, pckChainPem, pckKey: mockKey(seed, "tdx-pck") };
}

/** The whole PKI of a seed. */
export function mockPki(seed: MockSeed): MockPki {
  const platform = mockPlatform(seed);
  const { rootPem } = platform;
  return {
    ...platform,
    pckCaChainPem: pckAuthority(seed) + rootPem,
    tcbChainPem: certificate(seed, "tdx-tcb", "tdx-root", leaf()) + rootPem,
    qeChainPem: certificate(seed, "tdx-qe", "tdx-root", leaf()) + rootPem,
    rootCrl: emptyRevocationList(seed, "tdx-root"),
    pckCrl: emptyRevocationList(seed, "tdx-pck-ca"),
    signDocument: (signer, text) => p256.sign(utf8(text), mockKey(seed, signer).scalar, { lowS: false }),
  };
}

const pckAuthority = (seed: MockSeed): string => certificate(seed, "tdx-pck-ca", "tdx-root", authority());

function certificate(
  seed: MockSeed,
  label: MockKeyLabel,
  issuer: MockKeyLabel,
  extensions: readonly Uint8Array[],
): string {
  return writePem(signedCertificate(seed, label, issuer, extensions), "CERTIFICATE");
}

function signedCertificate(
  seed: MockSeed,
  label: MockKeyLabel,
  issuer: MockKeyLabel,
  extensions: readonly Uint8Array[],
): Uint8Array {
  return signed(
    seed,
    issuer,
    derSequence(
      derContext(0, true, derUnsigned(2)),
      derUnsigned(SERIAL),
      algorithm(),
      name(issuer),
      derSequence(derTime(NOT_BEFORE), derTime(NOT_AFTER)),
      name(label),
      spkiDer(mockKey(seed, label)),
      derContext(3, true, derSequence(...extensions)),
    ),
  );
}

function emptyRevocationList(seed: MockSeed, issuer: MockKeyLabel): Uint8Array {
  const crlNumber = extension("2.5.29.20", false, derUnsigned(1));
  return signed(
    seed,
    issuer,
    derSequence(
      derUnsigned(1),
      algorithm(),
      name(issuer),
      derTime(NOT_BEFORE),
      derTime(NOT_AFTER),
      derContext(0, true, derSequence(crlNumber)),
    ),
  );
}

function signed(seed: MockSeed, issuer: MockKeyLabel, tbs: Uint8Array): Uint8Array {
  const signature = p256.sign(tbs, mockKey(seed, issuer).scalar, { lowS: false });
  const value = derSequence(derUnsigned(signature.subarray(0, 32)), derUnsigned(signature.subarray(32)));
  return derSequence(tbs, algorithm(), derBitString(value));
}

const algorithm = (): Uint8Array => derSequence(derOid(OID.ecdsaWithSha256));
const name = (label: MockKeyLabel): Uint8Array =>
  derSequence(derSet(derSequence(derOid(OID.commonName), derUtf8(NAMES[label]))));

function extension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  return derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));
}

const subjectAltName = (): Uint8Array =>
  extension("2.5.29.17", false, derSequence(derContext(2, false, utf8("mock.dstack.invalid"))));

/** digitalSignature, keyCertSign, cRLSign; a CA without path limit. */
const authority = (): Uint8Array[] => [
  subjectAltName(),
  extension(OID.keyUsage, true, derBitString(Uint8Array.of(0x86), 1)),
  extension(OID.basicConstraints, true, derSequence(derBoolean(true))),
];

const leaf = (): Uint8Array[] => [
  subjectAltName(),
  extension("2.5.29.37", false, derSequence(derOid("1.3.6.1.5.5.7.3.1"))),
];

/** A platform of zeros but for its FMSPC; the TCB comes last and has no component entries. */
function sgxExtension(fmspc: Uint8Array): Uint8Array {
  const item = (arc: string, value: Uint8Array): Uint8Array => derSequence(derOid(`${SGX_EXTENSION}.${arc}`), value);
  const zeros = (length: number): Uint8Array => derOctetString(new Uint8Array(length));
  const tcb = derElement(TAG.sequence, concatBytes(item("2.17", derUnsigned(0)), item("2.18", zeros(16))));
  return extension(
    SGX_EXTENSION,
    false,
    derSequence(
      item("1", zeros(16)),
      item("3", zeros(2)),
      item("4", derOctetString(fmspc)),
      item("5", derEnumerated(0)),
      item("2", tcb),
    ),
  );
}
