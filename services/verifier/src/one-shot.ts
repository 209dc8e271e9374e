import { readFile, stat } from "node:fs/promises";
import { AttestError, firstFailure, parseCertificate, type Certificate, type Check } from "@dstack/attest";
import { parseJson, utf8Decode } from "@dstack/bytes";
import { DerError, readPem } from "@dstack/der";
import { errorChain } from "@dstack/errors";
import { writeFileAtomic } from "@dstack/files";
import { expectedReportData, parseCertificates, RatlsError, readDstackExtensions } from "@dstack/ratls";
import { VerifierError } from "./errors.ts";
import { judgeCertificate } from "./judge-certificate.ts";
import { refusal, type VerificationResponse } from "./verification-response.ts";
import type { Verifier } from "./verifier.ts";

const MAX_FILE_BYTES = 32 * 1024 * 1024;

/**
 * The request in a file; the answer goes beside it, to `FILE.verification.json`.
 * @throws VerifierError `file-unreadable`
 */
export async function verifyFile(verifier: Verifier, path: string): Promise<VerificationResponse> {
  const request = jsonObject(utf8Decode(await read(path), path), path);
  const result = await verifier.verifyRequest(request);
  await writeFileAtomic(`${path}.verification.json`, `${JSON.stringify(result, null, 2)}\n`);
  return result;
}

export interface CertificateFileOptions {
  /** PEM file of issuers that are trusted. */
  readonly chainFile: string | undefined;
  /** Milliseconds. */
  readonly clock: { now(): number };
}

/**
 * A certificate (PEM, leaf first, or DER) and the evidence in it, which must be bound to the certificate's key;
 * the answer goes to `FILE.ratls-verification.json`.
 * @throws VerifierError `file-unreadable`
 */
export async function verifyCertificateFile(
  verifier: Verifier,
  path: string,
  { chainFile, clock }: CertificateFileOptions,
): Promise<VerificationResponse> {
  const trusted = chainFile === undefined ? [] : issuersIn(utf8Decode(await read(chainFile), chainFile), chainFile);
  const now = Math.floor(clock.now() / 1000);
  const result = await verifyCertificate(verifier, await read(path), trusted, now);
  await writeFileAtomic(`${path}.ratls-verification.json`, `${JSON.stringify(result, null, 2)}\n`);
  return result;
}

async function verifyCertificate(
  verifier: Verifier,
  bytes: Uint8Array,
  trusted: readonly Certificate[],
  now: number,
): Promise<VerificationResponse> {
  try {
    const [der = new Uint8Array(0), ...above] = dersOf(bytes);
    const extensions = readDstackExtensions(der);
    const own = judgeCertificate({
      certificates: [extensions.certificate, ...above.map(parseCertificate)],
      trusted,
      now,
    });
    const { attestation } = extensions;
    const response =
      attestation === undefined
        ? refusal("Quote verification failed: the certificate carries no evidence")
        : await verifier.verify(
            { attestation, vmConfig: attestation.config },
            { expectedReportData: expectedReportData(extensions) },
          );
    return withCertificateChecks(response, own);
  } catch (error) {
    if (!(error instanceof RatlsError || error instanceof DerError || error instanceof AttestError)) throw error;
    return refusal(`Quote verification failed: ${errorChain(error)}`);
  }
}

/** Evidence that does not hold is the reason first: without it the certificate is nobody's. */
function withCertificateChecks(response: VerificationResponse, own: readonly Check[]): VerificationResponse {
  const failure = firstFailure(own);
  const listed = own.map(({ name, result, reason }) => ({ name, result, reason }));
  return {
    is_valid: response.is_valid && failure === undefined,
    details: { ...response.details, checks: [...listed, ...response.details.checks] },
    reason: response.reason ?? (failure === undefined ? null : `Certificate verification failed: ${failure}`),
  };
}

/** @throws VerifierError `file-unreadable` where there is no certificate to trust */
function issuersIn(pem: string, path: string): readonly Certificate[] {
  try {
    return parseCertificates(pem);
  } catch (cause) {
    if (!(cause instanceof AttestError || cause instanceof DerError)) throw cause;
    throw new VerifierError("file-unreadable", `${path}: expected certificates in PEM: ${cause.message}`, { cause });
  }
}

/** A certificate in DER starts with the tag of a SEQUENCE; of a PEM chain the leaf comes first. */
const dersOf = (bytes: Uint8Array): readonly Uint8Array[] =>
  bytes[0] === 0x30 ? [bytes] : readPem(Buffer.from(bytes).toString("latin1"), "CERTIFICATE", "certificate");

async function read(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES)
      throw new VerifierError("file-unreadable", `${path}: ${size} bytes, at most ${MAX_FILE_BYTES} are read`);
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    if (cause instanceof VerifierError) throw cause;
    throw new VerifierError("file-unreadable", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function jsonObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new VerifierError("file-unreadable", `${path}: not JSON`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new VerifierError("file-unreadable", `${path}: expected a JSON object`);
  return value as Record<string, unknown>;
}
