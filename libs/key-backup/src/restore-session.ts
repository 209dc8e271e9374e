/** What a KMS that waits for shares shows to operators: a fresh key, and evidence that it holds it. */
import { concatBytes, parseHex, toHex, type ReportData } from "@dstack/bytes";
import { customReportData } from "@dstack/attest";
import { z } from "zod";
import { hexOf, jsonFile, parseJsonFile } from "./json-file.ts";

export interface RestoreSession {
  /** `backupHash` of the backup that it is for. */
  readonly backup: string;
  /** X25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Evidence over `restoreReportData`, as attestation bytes. */
  readonly attestation: Uint8Array;
  /** JSON text: what the VM consists of. */
  readonly vmConfig: string;
}

const MAX_SESSION_BYTES = 1024 * 1024;

const FORMAT = "dstack-kms-restore-session";
const schema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(1),
  backup: hexOf(32),
  public_key: hexOf(32),
  attestation: z.string().regex(/^(?:[0-9a-f]{2})+$/, "expected lower-case hex"),
  vm_config: z.string(),
});

/** The report data that binds a session's key and its backup to the quote. */
export const restoreReportData = (publicKey: Uint8Array, backup: string): ReportData =>
  customReportData("kms-restore", concatBytes(publicKey, parseHex(backup)));

export function encodeSession({ backup, publicKey, attestation, vmConfig }: RestoreSession): Uint8Array {
  return jsonFile({
    format: FORMAT,
    version: 1,
    backup,
    public_key: toHex(publicKey),
    attestation: toHex(attestation),
    vm_config: vmConfig,
  });
}

/** Reads the form alone: the evidence is still to be verified. @throws KeyBackupError `file-malformed` */
export function decodeSession(bytes: Uint8Array): RestoreSession {
  const json = parseJsonFile(bytes, {
    what: "restore session",
    maxBytes: MAX_SESSION_BYTES,
    schema,
    rebuild: ({ format, version, backup, public_key, attestation, vm_config }) => ({
      format,
      version,
      backup,
      public_key,
      attestation,
      vm_config,
    }),
  });
  return {
    backup: json.backup,
    publicKey: parseHex(json.public_key),
    attestation: parseHex(json.attestation),
    vmConfig: json.vm_config,
  };
}
