/** What a quote says about its platform, unverified: enough to ask for the right collateral. */
import { concatBytes, toHex, u16le, utf8Decode } from "@dstack/bytes";
import { sha256 } from "#sha2";
import { commonName, leafOf, parseCertificateChain, parseRevocationList } from "../certificate.ts";
import type { Certificate } from "../certificate.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { reading } from "../errors.ts";
import { readPckExtension } from "../pck-extension.ts";
import type { Quote } from "../quote.ts";
import { parseTcbInfo } from "../tcb-info.ts";

/** How the platform's PCK certificate is asked for where the quote does not carry it. */
export interface PckRequest {
  /** Bytes; 256 or 384 of them. */
  readonly encryptedPpid: Uint8Array;
  readonly qeId: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly pceSvn: number;
  readonly pceId: Uint8Array;
}

export interface PckFacts {
  readonly ca: "processor" | "platform";
  /** 12 upper-case hex digits. */
  readonly fmspc: string;
}

export type Platform =
  | { readonly kind: "known"; readonly tee: "sgx" | "tdx"; readonly pck: PckFacts }
  | { readonly kind: "encrypted"; readonly tee: "sgx" | "tdx"; readonly request: PckRequest };

/** @throws AttestError `certificate-malformed` */
export function platformOf({ header, certification }: Quote): Platform {
  if (certification.kind === "encrypted-ppid") {
    const { encryptedPpid, cpuSvn, pceSvn, pceId } = certification;
    return {
      kind: "encrypted",
      tee: header.tee,
      request: { encryptedPpid, qeId: header.userData.subarray(0, 16), cpuSvn, pceSvn, pceId },
    };
  }
  const { pem } = certification;
  return reading("certificate-malformed", "quote", () => ({
    kind: "known",
    tee: header.tee,
    pck: pckFacts(leafOf(parseCertificateChain(utf8Decode(pem, "PCK chain"), "PCK chain"))),
  }));
}

/** @throws AttestError, DerError */
export function pckFacts(pck: Certificate): PckFacts {
  return { ca: authorityOf(pck.issuer), fmspc: toHex(readPckExtension(pck).fmspc).toUpperCase() };
}

/**
 * A name for the collateral of a platform, of lower-case letters, digits and "-" whatever the quote holds:
 * it names files.
 */
export function collateralKey(platform: Platform): string {
  if (platform.kind === "known") return `${platform.tee}-${platform.pck.ca}-${platform.pck.fmspc.toLowerCase()}`;
  const { encryptedPpid, qeId, cpuSvn, pceSvn, pceId } = platform.request;
  return `${platform.tee}-pck-${toHex(sha256(concatBytes(qeId, cpuSvn, u16le(pceSvn), pceId, encryptedPpid))).slice(0, 40)}`;
}

/** The key of the platforms that collateral is for. @throws AttestError `collateral-malformed` */
export function keyOfCollateral(collateral: QuoteCollateral): string {
  return reading("collateral-malformed", "collateral", () => {
    const { id, fmspc } = parseTcbInfo(collateral.tcbInfo);
    const ca = authorityOf(parseRevocationList(collateral.pckCrl).issuer);
    return collateralKey({ kind: "known", tee: id === "TDX" ? "tdx" : "sgx", pck: { ca, fmspc: toHex(fmspc) } });
  });
}

const authorityOf = (issuer: Uint8Array): PckFacts["ca"] =>
  commonName(issuer).includes("Platform") ? "platform" : "processor";
