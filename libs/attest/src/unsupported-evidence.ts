/**
 * Evidence of platforms that are not implemented. It is named and refused as a whole: half a
 * verification would read like one.
 */
import { equalBytes, parseHex, readU32LE } from "@dstack/bytes";
import { AttestError } from "./errors.ts";

/** A platform that evidence may be of, by the name that boot information uses. */
export type UnsupportedPlatform =
  | "dstack-gcp-tdx"
  | "dstack-nitro-enclave"
  | "dstack-amd-sev-snp"
  | "dstack-aws-nitro-tpm"
  | "nvidia-gpu"
  | "tpm";

const LABELS: Readonly<Record<UnsupportedPlatform, string>> = {
  "dstack-gcp-tdx": "Intel TDX with a TPM on Google Cloud",
  "dstack-nitro-enclave": "AWS Nitro Enclave",
  "dstack-amd-sev-snp": "AMD SEV-SNP",
  "dstack-aws-nitro-tpm": "AWS NitroTPM",
  "nvidia-gpu": "NVIDIA GPU",
  tpm: "TPM 2.0 quote",
};

/** The refusal of such evidence. */
export const unsupportedEvidence = (platform: UnsupportedPlatform): AttestError =>
  new AttestError(
    "platform-unsupported",
    `not supported: ${LABELS[platform]} evidence (${platform}); expected Intel TDX (dstack-tdx)`,
  );

const SNP_REPORT_BYTES = 1184;
const SNP_SIGNATURE_ALGORITHM_AT = 0x34;
/** COSE_Sign1 of four parts whose protected header is {1: -35} (ES384), as AWS signs its documents. */
const COSE_SIGN1 = parseHex("8444a1013822");
const COSE_TAG = 0xd2;
/** TPM_GENERATED and TPM_ST_ATTEST_QUOTE. */
const TPM_QUOTE = parseHex("ff5443478018");
const NITRO_TPM_FIELD = "nitrotpm_pcrs";
const GPU_FIELDS = ["detached_eat", "x-nvidia-device-type"];
const SEARCH_BYTES = 64 * 1024;

/** The platform of bare evidence, outside of an attestation object, that is recognised and cannot be verified here. */
export function recogniseUnsupported(bytes: Uint8Array): UnsupportedPlatform | undefined {
  if (isSnpReport(bytes)) return "dstack-amd-sev-snp";
  const document = bytes[0] === COSE_TAG ? bytes.subarray(1) : bytes;
  if (startsWith(document, COSE_SIGN1))
    return includes(document, NITRO_TPM_FIELD) ? "dstack-aws-nitro-tpm" : "dstack-nitro-enclave";
  if (isTpmQuote(bytes)) return "tpm";
  if (bytes[0] === 0x7b && GPU_FIELDS.some((field) => includes(bytes, `"${field}"`))) return "nvidia-gpu";
  return undefined;
}

function isSnpReport(bytes: Uint8Array): boolean {
  if (bytes.length !== SNP_REPORT_BYTES) return false;
  const version = readU32LE(bytes, 0);
  return version >= 2 && version <= 5 && readU32LE(bytes, SNP_SIGNATURE_ALGORITHM_AT) === 1;
}

/** TPMS_ATTEST of a quote, alone or behind its TPM2B length. */
const isTpmQuote = (bytes: Uint8Array): boolean =>
  startsWith(bytes, TPM_QUOTE) || startsWith(bytes.subarray(2), TPM_QUOTE);

const startsWith = (bytes: Uint8Array, prefix: Uint8Array): boolean =>
  equalBytes(bytes.subarray(0, prefix.length), prefix);

const includes = (bytes: Uint8Array, text: string): boolean =>
  new TextDecoder("latin1").decode(bytes.subarray(0, SEARCH_BYTES)).includes(text);
