import { readFile, stat } from "node:fs/promises";
import { parseJson, utf8Decode } from "@dstack/bytes";
import { DerError, readPem } from "@dstack/der";
import { errorChain } from "@dstack/errors";
import { writeFileAtomic } from "@dstack/files";
import { expectedReportData, RatlsError, readDstackExtensions } from "@dstack/ratls";
import { VerifierError } from "./errors.ts";
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

/**
 * The evidence in a certificate (PEM, or DER), which must be bound to the certificate's key; the
 * answer goes to `FILE.ratls-verification.json`.
 * @throws VerifierError `file-unreadable`
 */
export async function verifyCertificateFile(verifier: Verifier, path: string): Promise<VerificationResponse> {
  const result = await verifyCertificate(verifier, await read(path));
  await writeFileAtomic(`${path}.ratls-verification.json`, `${JSON.stringify(result, null, 2)}\n`);
  return result;
}

async function verifyCertificate(verifier: Verifier, bytes: Uint8Array): Promise<VerificationResponse> {
  try {
    const extensions = readDstackExtensions(derOf(bytes));
    if (extensions.attestation === undefined)
      return refusal("Quote verification failed: the certificate carries no evidence");
    const { attestation } = extensions;
    return await verifier.verify(
      { attestation, vmConfig: attestation.config },
      { expectedReportData: expectedReportData(extensions) },
    );
  } catch (error) {
    if (!(error instanceof RatlsError || error instanceof DerError)) throw error;
    return refusal(`Quote verification failed: ${errorChain(error)}`);
  }
}

/** A certificate in DER starts with the tag of a SEQUENCE; of a PEM chain the leaf comes first. */
function derOf(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === 0x30) return bytes;
  const [leaf] = readPem(Buffer.from(bytes).toString("latin1"), "CERTIFICATE", "certificate");
  return leaf ?? new Uint8Array(0);
}

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
