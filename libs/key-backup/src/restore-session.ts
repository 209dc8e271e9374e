/** What a KMS that waits for shares shows to operators: a fresh key, and evidence that it holds it. */
import { concatBytes, parseHex, toHex, utf8, type ReportData } from "@dstack/bytes";
import { customReportData } from "@dstack/attest";
import { z } from "zod";
import { hexOf, jsonFile, parseJsonFile } from "./json-file.ts";

export interface RestoreSession {
  /** `backupHash` of the backup that it is for. */
  readonly backup: string;
  /** Name or address that the restored KMS will serve under. */
  readonly domain: string;
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
  version: z.literal(
    2,
    "expected version 2. A session of version 1 does not say for which domain the keys are restored: begin the restore anew, with a KMS of this release",
  ),
  backup: hexOf(32),
  domain: z.string().min(1).max(253),
  public_key: hexOf(32),
  attestation: z.string().regex(/^(?:[0-9a-f]{2})+$/, "expected lower-case hex"),
  vm_config: z.string(),
});

/** The report data that binds a session's key, its backup and its domain to the quote: two parts of 32 bytes and the rest. */
export const restoreReportData = ({
  publicKey,
  backup,
  domain,
}: Pick<RestoreSession, "publicKey" | "backup" | "domain">): ReportData =>
  customReportData("kms-restore", concatBytes(publicKey, parseHex(backup), utf8(domain)));

export function encodeSession({ backup, domain, publicKey, attestation, vmConfig }: RestoreSession): Uint8Array {
  return jsonFile({
    format: FORMAT,
    version: 2,
    backup,
    domain,
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
    rebuild: ({ format, version, backup, domain, public_key, attestation, vm_config }) => ({
      format,
      version,
      backup,
      domain,
      public_key,
      attestation,
      vm_config,
    }),
  });
  return {
    backup: json.backup,
    domain: json.domain,
    publicKey: parseHex(json.public_key),
    attestation: parseHex(json.attestation),
    vmConfig: json.vm_config,
  };
}
