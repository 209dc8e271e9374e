import { equalBytes, parseHex, toHex } from "@dstack/bytes";
import { contextTag, readChildren, readDer, readPem } from "@dstack/der";
import type { DerElement } from "@dstack/der";
import { sha256 } from "#sha2";
import { p256Point, parseCertificate } from "./certificate.ts";
import { AttestError } from "./errors.ts";

/** Where a certificate chain must end: only subject, key and dates of the configured root count. */
export interface TrustAnchor {
  /** Whether this is Intel's root; any other one is for development or tests. */
  readonly kind: "intel" | "external";
  readonly subject: Uint8Array;
  /** Uncompressed P-256 point, 65 bytes. */
  readonly publicKey: Uint8Array;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Where the root says its own revocation list is, for servers that do not serve it. */
  readonly crlUrl?: string;
}

/** SHA-256 of the DER of Intel's SGX root CA (CN "Intel SGX Root CA", valid to 2049-12-31). */
export const INTEL_ROOT_SHA256 = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";

/** Intel's root, published at https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.pem. */
export const intelTrustAnchor = (): TrustAnchor => pinnedRoot(parseHex(INTEL_ROOT_DER), INTEL_ROOT_SHA256);

/** A root whose DER has this SHA-256, in hex. @throws AttestError `trust-anchor-invalid` for any other */
export function pinnedRoot(der: Uint8Array, hash: string): TrustAnchor {
  if (toHex(sha256(der)) !== hash)
    throw new AttestError("trust-anchor-invalid", "Intel root: built-in certificate does not have the pinned hash");
  return anchorOf(der, "intel");
}

/**
 * A root from a file: exactly one CERTIFICATE block, P-256.
 * @throws AttestError `trust-anchor-invalid`
 */
export function trustAnchorFromPem(pem: string): TrustAnchor {
  try {
    const [der, ...rest] = readPem(pem, "CERTIFICATE", "trust anchor");
    if (der === undefined || rest.length > 0)
      throw new AttestError("trust-anchor-invalid", "trust anchor: expected exactly one certificate");
    return anchorOf(der, equalBytes(der, parseHex(INTEL_ROOT_DER)) ? "intel" : "external");
  } catch (cause) {
    if (cause instanceof AttestError && cause.code === "trust-anchor-invalid") throw cause;
    throw new AttestError(
      "trust-anchor-invalid",
      `trust anchor: ${cause instanceof Error ? cause.message : "unreadable"}`,
      { cause },
    );
  }
}

/** Whether two anchors stand for the same root: name, key, serial and dates. */
export function sameAnchor(a: TrustAnchor, b: TrustAnchor): boolean {
  return (
    a === b ||
    (a.kind === b.kind &&
      equalBytes(a.subject, b.subject) &&
      equalBytes(a.publicKey, b.publicKey) &&
      a.serial === b.serial &&
      a.notBefore === b.notBefore &&
      a.notAfter === b.notAfter)
  );
}

function anchorOf(der: Uint8Array, kind: TrustAnchor["kind"]): TrustAnchor {
  const { subject, publicKeyInfo, serial, notBefore, notAfter, extensions } = parseCertificate(der);
  const points = extensions.get(CRL_DISTRIBUTION_POINTS);
  const crlUrl = points === undefined ? undefined : firstUrl(readDer(points.value, "CRL distribution points"), 0);
  return {
    kind,
    subject,
    publicKey: p256Point(publicKeyInfo),
    serial,
    notBefore,
    notAfter,
    ...(crlUrl === undefined ? {} : { crlUrl }),
  };
}

const CRL_DISTRIBUTION_POINTS = "2.5.29.31";
const URL_TAG = contextTag(6, false);

/** RFC 5280 4.2.1.13: list of {[0] {[0] names}}; the first name that is an http or https URL. */
function firstUrl(element: DerElement, depth: number): string | undefined {
  if (element.tag === URL_TAG) {
    const text = new TextDecoder().decode(element.content);
    return /^https?:\/\/[\x21-\x7e]+$/.test(text) ? text : undefined;
  }
  if ((element.tag & 0x20) === 0 || depth === 4) return undefined;
  for (const child of readChildren(element, "CRL distribution points")) {
    const found = firstUrl(child, depth + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

const INTEL_ROOT_DER = [
  "3082028f30820234a003020102021422650cd65a9d3489f383b49552bf501b392706ac300a06082a8648ce3d0403023068311a301806",
  "035504030c11496e74656c2053475820526f6f74204341311a3018060355040a0c11496e74656c20436f72706f726174696f6e311430",
  "1206035504070c0b53616e746120436c617261310b300906035504080c024341310b3009060355040613025553301e170d3138303532",
  "313130343531305a170d3439313233313233353935395a3068311a301806035504030c11496e74656c2053475820526f6f7420434131",
  "1a3018060355040a0c11496e74656c20436f72706f726174696f6e3114301206035504070c0b53616e746120436c617261310b300906",
  "035504080c024341310b30090603550406130255533059301306072a8648ce3d020106082a8648ce3d030107034200040ba9c4c0c0c8",
  "6193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f567918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b09",
  "04ae7394a381bb3081b8301f0603551d2304183016801422650cd65a9d3489f383b49552bf501b392706ac30520603551d1f044b3049",
  "3047a045a043864168747470733a2f2f6365727469666963617465732e7472757374656473657276696365732e696e74656c2e636f6d",
  "2f496e74656c534758526f6f7443412e646572301d0603551d0e0416041422650cd65a9d3489f383b49552bf501b392706ac300e0603",
  "551d0f0101ff04040302010630120603551d130101ff040830060101ff020101300a06082a8648ce3d0403020349003046022100e5bf",
  "e50911f92f428920dc368a302ee3d12ec5867ff622ec6497f78060c13c20022100e09d25ac7a0cb3e5e8e68fec5fa3bd416c47440bd9",
  "50639d450edcbea4576aa2",
].join("");
