/** What Intel signs about platforms: revocation lists, TCB levels, the identity of the quoting enclave. */
import { parseHex, toHex } from "@dstack/bytes";
import { AttestError } from "./errors.ts";

/** Collateral as it travels; the JSON form has the same members in snake_case. */
export interface QuoteCollateral {
  /** PEM, leaf first. */
  readonly pckCrlIssuerChain: string;
  /** DER. */
  readonly rootCaCrl: Uint8Array;
  readonly pckCrl: Uint8Array;
  readonly tcbInfoIssuerChain: string;
  /** The exact signed JSON text. */
  readonly tcbInfo: string;
  /** r and s, 64 bytes. */
  readonly tcbInfoSignature: Uint8Array;
  readonly qeIdentityIssuerChain: string;
  readonly qeIdentity: string;
  readonly qeIdentitySignature: Uint8Array;
  /** PEM, leaf first; used instead of the chain in the quote where present. */
  readonly pckCertificateChain?: string;
}

const MAX_TEXT = 1024 * 1024;

/** From the parsed JSON form ("QuoteCollateralV3"). @throws AttestError `collateral-malformed` */
export function collateralFromJson(value: unknown): QuoteCollateral {
  if (typeof value !== "object" || value === null)
    throw new AttestError("collateral-malformed", "collateral: not an object");
  const fields = value as Record<string, unknown>;
  const text = (name: string): string => {
    const field = fields[name];
    if (typeof field !== "string" || field.length > MAX_TEXT) {
      throw new AttestError(
        "collateral-malformed",
        `collateral: ${name} is not text of at most ${MAX_TEXT} characters`,
      );
    }
    return field;
  };
  const bytes = (name: string): Uint8Array => {
    try {
      return parseHex(text(name), name);
    } catch (cause) {
      if (cause instanceof AttestError) throw cause;
      throw new AttestError("collateral-malformed", `collateral: ${name} is not hex`, { cause });
    }
  };
  const chain = fields["pck_certificate_chain"];
  return {
    pckCrlIssuerChain: text("pck_crl_issuer_chain"),
    rootCaCrl: bytes("root_ca_crl"),
    pckCrl: bytes("pck_crl"),
    tcbInfoIssuerChain: text("tcb_info_issuer_chain"),
    tcbInfo: text("tcb_info"),
    tcbInfoSignature: bytes("tcb_info_signature"),
    qeIdentityIssuerChain: text("qe_identity_issuer_chain"),
    qeIdentity: text("qe_identity"),
    qeIdentitySignature: bytes("qe_identity_signature"),
    ...(chain === undefined || chain === null ? {} : { pckCertificateChain: text("pck_certificate_chain") }),
  };
}

/** The exchange form, as other tools read and write it. */
export function collateralToJson(collateral: QuoteCollateral): Record<string, string> {
  return {
    pck_crl_issuer_chain: collateral.pckCrlIssuerChain,
    root_ca_crl: toHex(collateral.rootCaCrl),
    pck_crl: toHex(collateral.pckCrl),
    tcb_info_issuer_chain: collateral.tcbInfoIssuerChain,
    tcb_info: collateral.tcbInfo,
    tcb_info_signature: toHex(collateral.tcbInfoSignature),
    qe_identity_issuer_chain: collateral.qeIdentityIssuerChain,
    qe_identity: collateral.qeIdentity,
    qe_identity_signature: toHex(collateral.qeIdentitySignature),
    ...(collateral.pckCertificateChain === undefined ? {} : { pck_certificate_chain: collateral.pckCertificateChain }),
  };
}
