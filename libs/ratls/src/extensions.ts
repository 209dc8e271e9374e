import { gunzipSync } from "node:zlib";
import { appId, equalBytes, readU32LE, utf8, utf8Decode } from "@dstack/bytes";
import type { AppId } from "@dstack/bytes";
import { attestationFromQuote, decodeAppInfo, decodeAttestation, parseCertificate } from "@dstack/attest";
import type { AppInfoRecord, Attestation, Certificate } from "@dstack/attest";
import { readDer, readOctetString } from "@dstack/der";
import { asRefusal, isCoded } from "@dstack/errors";
import { RatlsError } from "./errors.ts";
import { DSTACK_OID } from "./oids.ts";

/** How a certificate holds its evidence: whole, or as the quote and event log that releases up to 0.5.8 write. */
export type EvidenceForm = "attestation" | "quote-and-event-log";

/** What a certificate says about its holder. None of it is verified by reading it. */
export interface DstackExtensions {
  readonly certificate: Certificate;
  readonly usage?: string;
  readonly appId?: AppId;
  readonly appInfo?: AppInfoRecord;
  /** Claimed evidence: verify it, and against the key of this certificate, before believing a word. */
  readonly attestation?: Attestation;
  /** There where `attestation` is. */
  readonly evidenceForm?: EvidenceForm;
}

const COMPRESSED = utf8("ELGZv1");
const MAX_INFLATED_BYTES = 16_384;
const MAX_USAGE_BYTES = 256;
/** Twice an attestation of the largest size that is read, and a little. */
const MAX_CERTIFICATE_BYTES = 16 * 1024 * 1024;

/**
 * Reads the extensions of the dstack arc from a certificate in DER.
 * @throws RatlsError `evidence-unsupported` for evidence of another platform, else `extension-malformed`, also for a
 *   certificate that cannot be read strictly and for one that names an extension twice
 */
export function readDstackExtensions(certificateDer: Uint8Array): DstackExtensions {
  return readingRefused(() => {
    if (certificateDer.length > MAX_CERTIFICATE_BYTES) {
      throw new RatlsError(
        "extension-malformed",
        `certificate of ${certificateDer.length} bytes, limit ${MAX_CERTIFICATE_BYTES}`,
      );
    }
    const certificate = parseCertificate(certificateDer);
    const usage = payload(certificate, DSTACK_OID.usage);
    const app = payload(certificate, DSTACK_OID.appId);
    const info = payload(certificate, DSTACK_OID.appInfo);
    const evidence = evidenceOf(certificate);
    return {
      certificate,
      ...(usage === undefined ? {} : { usage: usageText(usage) }),
      ...(app === undefined ? {} : { appId: appId(app) }),
      ...(info === undefined ? {} : { appInfo: decodeAppInfo(info) }),
      ...evidence,
    };
  });
}

/**
 * Runs a reader of certificates; what it refuses comes as this package's error, anything else goes on.
 * @throws RatlsError
 */
export function readingRefused<T>(read: () => T): T {
  return asRefusal(read, (cause) => {
    if (cause instanceof RatlsError) return undefined;
    return isCoded(cause, "platform-unsupported")
      ? new RatlsError("evidence-unsupported", cause.message, { cause })
      : new RatlsError("extension-malformed", "certificate with dstack extensions cannot be read", { cause });
  });
}

/** The newer form where present, else the older pair, else nothing. */
function evidenceOf(certificate: Certificate): Pick<DstackExtensions, "attestation" | "evidenceForm"> {
  const bytes = payload(certificate, DSTACK_OID.attestation);
  if (bytes !== undefined) return { attestation: decodeAttestation(bytes), evidenceForm: "attestation" };
  const quote = payload(certificate, DSTACK_OID.quote);
  if (quote === undefined) return {};
  const log = payload(certificate, DSTACK_OID.eventLog);
  if (log === undefined) throw new RatlsError("extension-malformed", "TDX event log missing");
  return {
    attestation: attestationFromQuote(quote, utf8Decode(inflated(log), "event log")),
    evidenceForm: "quote-and-event-log",
  };
}

/** X.509's OCTET STRING holds one more DER OCTET STRING, whose content is the payload. */
function payload(certificate: Certificate, oid: string): Uint8Array | undefined {
  const extension = certificate.extensions.get(oid);
  return extension === undefined
    ? undefined
    : readOctetString(readDer(extension.value, `extension ${oid}`), `extension ${oid}`);
}

function inflated(log: Uint8Array): Uint8Array {
  if (!equalBytes(log.subarray(0, COMPRESSED.length), COMPRESSED)) return log;
  const stream = log.subarray(COMPRESSED.length);
  let out: Uint8Array;
  let consumed: number;
  try {
    const { buffer, engine } = gunzipSync(stream, { maxOutputLength: MAX_INFLATED_BYTES, info: true }) as unknown as {
      buffer: Uint8Array;
      engine: { bytesWritten: number };
    };
    out = new Uint8Array(buffer);
    consumed = engine.bytesWritten;
  } catch (cause) {
    throw new RatlsError("extension-malformed", `compressed event log is broken or above ${MAX_INFLATED_BYTES} bytes`, {
      cause,
    });
  }
  // zlib passes over bytes behind the stream and joins several streams; other readers see the first alone.
  if (consumed !== stream.length || readU32LE(stream, stream.length - 4) !== out.length) {
    throw new RatlsError("extension-malformed", "compressed event log: bytes after the gzip stream");
  }
  return out;
}

function usageText(bytes: Uint8Array): string {
  if (bytes.length > MAX_USAGE_BYTES)
    throw new RatlsError("extension-malformed", `certificate usage: ${bytes.length} bytes, limit ${MAX_USAGE_BYTES}`);
  return utf8Decode(bytes, "certificate usage");
}
