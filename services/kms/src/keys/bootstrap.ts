import { randomBytes } from "node:crypto";
import {
  encodeAttestation,
  encodeEventLogJson,
  fullEventLog,
  generatedKeysReportData,
  type Attestation,
} from "@dstack/attest";
import { utf8, type ReportData } from "@dstack/bytes";
import { generateP256, KeysError, secp256k1PublicKey, spkiDer } from "@dstack/keys";
import { KmsError } from "../errors.ts";
import { checkDomain } from "./domain.ts";
import {
  installRootKeys,
  requireNoKeys,
  type RecordInstall,
  type RootEvidence,
  type RootKeys,
} from "./install-root-keys.ts";

/** Evidence of this VM over 64 bytes; undefined where the KMS runs without a TEE. */
export type Attest = ((reportData: ReportData) => Promise<Attestation>) | undefined;

export interface BootstrapOptions {
  readonly folder: string;
  readonly domain: string;
  /** Unix seconds. */
  readonly now: number;
  readonly attest: Attest;
  readonly record?: RecordInstall;
}

/** What a bootstrap tells the world; the same as `bootstrap-info.json`. */
export interface Bootstrapped extends RootEvidence {
  /** SubjectPublicKeyInfo, 91 bytes. */
  readonly caPubkey: Uint8Array;
  /** Compressed, 33 bytes. */
  readonly k256Pubkey: Uint8Array;
}

/**
 * Makes the roots of a new KMS, once, with evidence that they were made in this VM.
 * @throws KmsError `already-bootstrapped` where the folder holds any key, `config-invalid` for the
 *   domain; whatever `attest` throws, before anything is written
 */
export async function bootstrap({ folder, now, attest, ...options }: BootstrapOptions): Promise<Bootstrapped> {
  const domain = checkDomain(options.domain);
  await requireNoKeys(folder, "KMS has already been bootstrapped");
  const roots: RootKeys = { rootCa: generateP256(), tempCa: generateP256(), rootK256: newSecp256k1Scalar() };
  const evidence = await attestRoots(roots, attest);
  const { record } = options;
  await installRootKeys({ folder, domain, now, roots, evidence, ...(record === undefined ? {} : { record }) });
  return { ...publicKeys(roots), ...evidence };
}

/** Evidence over the root public keys, for `bootstrap-info.json`. */
export async function attestRoots(roots: RootKeys, attest: Attest): Promise<RootEvidence> {
  if (attest === undefined)
    return { attestation: new Uint8Array(), quote: new Uint8Array(), eventlog: new Uint8Array() };
  const { caPubkey, k256Pubkey } = publicKeys(roots);
  const attestation = await attest(generatedKeysReportData(caPubkey, k256Pubkey));
  return {
    attestation: encodeAttestation(attestation),
    quote: attestation.platform.quote,
    eventlog: utf8(encodeEventLogJson(fullEventLog(attestation))),
  };
}

const publicKeys = (roots: RootKeys): { readonly caPubkey: Uint8Array; readonly k256Pubkey: Uint8Array } => ({
  caPubkey: spkiDer(roots.rootCa),
  k256Pubkey: secp256k1PublicKey(roots.rootK256),
});

function newSecp256k1Scalar(): Uint8Array {
  for (let attempt = 0; attempt < 8; attempt++) {
    const scalar = new Uint8Array(randomBytes(32));
    try {
      secp256k1PublicKey(scalar);
      return scalar;
    } catch (error) {
      if (!(error instanceof KeysError)) throw error;
    }
  }
  throw new KmsError("key-folder-invalid", "random source gave no valid secp256k1 scalar in 8 draws");
}
