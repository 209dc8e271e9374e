import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex, toHex } from "@dstack/bytes";
import { readPem, writePem } from "@dstack/der";
import { collateralFromJson, fail, trustAnchorFromPem } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import {
  ENCLAVE,
  forge,
  goodScene,
  goodSgxScene,
  TD,
  tcbLevel,
  tdReport,
} from "../../../tests/forge/forged-evidence.ts";
import type { QuoteVerification } from "@dstack/attest";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";
import { failuresOf, verifyScene } from "./forged.ts";

const DAY = 86_400;
const iso = (time: number): string => new Date(time * 1000).toISOString();

interface Row {
  readonly what: string;
  readonly scene?: () => Scene;
  readonly edit: (scene: Scene) => void;
  /** "check code" of every check that must fail, and of no other. */
  readonly fails: readonly string[];
  /** What one of the failures must say. */
  readonly says: RegExp;
}

const version5 = (): Scene => Object.assign(goodScene(), { version: 5, bodyType: 3, body: tdReport(648) });

// DS #0b, #1140, CVE-2026-22696, audit row 06: each rule of DCAP verification has its forgery, and turns on nothing else.
const rows: readonly Row[] = [
  {
    what: "an attestation key of another type",
    edit: (scene) => {
      scene.attestationKeyType = 3;
    },
    fails: ["quote-header attestation-key-type"],
    says: /type 3, expected 2/,
  },
  {
    what: "another vendor's quoting enclave",
    edit: (scene) => {
      scene.vendorId = new Uint8Array(16).fill(7);
    },
    fails: ["quote-header qe-vendor"],
    says: /0707.*expected Intel's 939a/,
  },

  {
    what: "an expired root",
    edit: (scene) => {
      scene.certificates.root.notAfter = scene.now - 1;
    },
    fails: ["trust-anchor certificate-expired"],
    says: /Forged SGX Root CA" expired at .*the clock says/,
  },
  {
    what: "a root from the future",
    edit: (scene) => {
      scene.certificates.root.notBefore = scene.now + 1;
    },
    fails: ["trust-anchor certificate-not-yet-valid"],
    says: /valid only from/,
  },
  {
    what: "a root that revokes itself",
    edit: (scene) => {
      scene.rootCrl.revoked = [100];
    },
    fails: ["trust-anchor certificate-revoked"],
    says: /revoked by its own list/,
  },

  {
    what: "an expired root CRL",
    edit: (scene) => {
      scene.rootCrl.nextUpdate = scene.now - 1;
    },
    fails: ["collateral-fresh collateral-expired"],
    says: /root CRL expired at/,
  },
  {
    what: "a root CRL from the future",
    edit: (scene) => {
      scene.rootCrl.thisUpdate = scene.now + 1;
    },
    fails: ["collateral-fresh collateral-not-yet-valid"],
    says: /root CRL is valid only from/,
  },
  {
    what: "an expired PCK CRL",
    edit: (scene) => {
      scene.pckCrl.nextUpdate = scene.now - 1;
    },
    fails: ["collateral-fresh collateral-expired"],
    says: /PCK CRL expired at/,
  },
  {
    what: "a PCK CRL from the future",
    edit: (scene) => {
      scene.pckCrl.thisUpdate = scene.now + 1;
    },
    fails: ["collateral-fresh collateral-not-yet-valid"],
    says: /PCK CRL is valid/,
  },
  {
    what: "expired TCB info",
    edit: (scene) => {
      scene.tcbInfo["nextUpdate"] = iso(scene.now - 1);
    },
    fails: ["collateral-fresh collateral-expired"],
    says: /TCB info expired at/,
  },
  {
    what: "TCB info from the future",
    edit: (scene) => {
      scene.tcbInfo["issueDate"] = iso(scene.now + 1);
    },
    fails: ["collateral-fresh collateral-not-yet-valid"],
    says: /TCB info is valid/,
  },
  {
    what: "an expired QE identity",
    edit: (scene) => {
      scene.qeIdentity["nextUpdate"] = iso(scene.now - 1);
    },
    fails: ["collateral-fresh collateral-expired"],
    says: /QE identity expired at/,
  },
  {
    what: "a QE identity from the future",
    edit: (scene) => {
      scene.qeIdentity["issueDate"] = iso(scene.now + 1);
    },
    fails: ["collateral-fresh collateral-not-yet-valid"],
    says: /QE identity is valid/,
  },

  {
    what: "a root CRL by another key",
    edit: (scene) => {
      scene.rootCrl.signer = "stranger";
    },
    fails: ["root-crl signature-invalid"],
    says: /signature of revocation list of "Forged SGX Root CA"/,
  },
  {
    what: "a root CRL of another issuer",
    edit: (scene) => {
      scene.rootCrl.issuer = "Somebody";
    },
    fails: [
      "root-crl revocation-list-mismatch",
      "pck-crl revocation-list-missing",
      "tcb-info revocation-list-missing",
      "qe-identity revocation-list-missing",
      "pck-chain revocation-list-missing",
    ],
    says: /list of "Somebody", expected one of "Forged SGX Root CA"/,
  },
  {
    what: "a PCK CRL by another key",
    edit: (scene) => {
      scene.pckCrl.signer = "stranger";
    },
    fails: ["pck-crl signature-invalid"],
    says: /revocation list of "Forged SGX PCK Platform CA"/,
  },
  {
    what: "a PCK CRL of another authority",
    edit: (scene) => {
      scene.pckCrl.issuer = "Processor CA";
    },
    fails: ["pck-crl revocation-list-mismatch", "pck-chain revocation-list-missing"],
    says: /list of "Processor CA", expected one of/,
  },
  {
    what: "a PCK CRL whose issuer chain is a signer's",
    edit: (scene) => {
      scene.chains.pckCrl = ["tcbSigner", "root"];
    },
    fails: ["pck-crl chain-not-authority", "pck-chain revocation-list-mismatch"],
    says: /"Forged SGX TCB Signing" is no certificate authority, and stands for one/,
  },
  {
    what: "a PCK CRL with no issuer chain but the root",
    edit: (scene) => {
      scene.chains.pckCrl = ["root"];
    },
    fails: ["pck-crl chain-length", "pck-chain revocation-list-mismatch"],
    says: /chain of 0 certificates below the root, expected 1 to 5/,
  },

  {
    what: "TCB info by another key",
    edit: (scene) => {
      scene.signers.tcbInfo = "stranger";
    },
    fails: ["tcb-info signature-invalid"],
    says: /signature of the document, by "Forged SGX TCB Signing" does not hold/,
  },
  {
    what: "TCB info by the key of the QE identity",
    edit: (scene) => {
      scene.signers.tcbInfo = "qeSigner";
    },
    fails: ["tcb-info signature-invalid"],
    says: /does not hold/,
  },
  {
    what: "TCB info signed by a platform's own certificate",
    edit: (scene) => {
      scene.chains.tcbInfo = ["pck", "pckCa", "root"];
      scene.signers.tcbInfo = "pck";
    },
    fails: ["tcb-info certificate-unexpected"],
    says: /issued by "Forged SGX PCK Platform CA", expected the root/,
  },
  {
    what: "a revoked TCB signer",
    edit: (scene) => {
      scene.rootCrl.revoked = [103];
    },
    fails: ["tcb-info certificate-revoked"],
    says: /TCB Signing" \(serial 67\) is revoked/,
  },
  {
    what: "an expired TCB signer",
    edit: (scene) => {
      scene.certificates.tcbSigner.notAfter = scene.now - 1;
    },
    fails: ["tcb-info certificate-expired"],
    says: /TCB Signing" expired at/,
  },
  {
    what: "a TCB signer from the future",
    edit: (scene) => {
      scene.certificates.tcbSigner.notBefore = scene.now + 1;
    },
    fails: ["tcb-info certificate-not-yet-valid"],
    says: /TCB Signing" is valid only from/,
  },
  {
    what: "a TCB signer whom a stranger certified",
    edit: (scene) => {
      scene.certificates.tcbSigner.signer = "stranger";
    },
    fails: ["tcb-info signature-invalid"],
    says: /certificate "Forged SGX TCB Signing"/,
  },
  {
    what: "TCB info for SGX",
    edit: (scene) => {
      scene.tcbInfo["id"] = "SGX";
      scene.tcbInfo["tdxModule"] = undefined;
    },
    fails: ["tcb-info collateral-mismatch", "tcb-level tcb-level-missing", "tcb-status tcb-level-missing"],
    says: /for SGX, the quote for TDX/,
  },
  {
    what: "a QE identity by another key",
    edit: (scene) => {
      scene.signers.qeIdentity = "stranger";
    },
    fails: ["qe-identity signature-invalid"],
    says: /by "Forged SGX QE Signing"/,
  },
  {
    what: "a revoked QE identity signer",
    edit: (scene) => {
      scene.rootCrl.revoked = [104];
    },
    fails: ["qe-identity certificate-revoked"],
    says: /QE Signing" \(serial 68\) is revoked/,
  },
  {
    what: "an expired QE identity signer",
    edit: (scene) => {
      scene.certificates.qeSigner.notAfter = scene.now - 1;
    },
    fails: ["qe-identity certificate-expired"],
    says: /expired/,
  },
  {
    what: "the identity of SGX's quoting enclave",
    edit: (scene) => {
      scene.qeIdentity["id"] = "QE";
    },
    fails: ["qe-identity collateral-mismatch"],
    says: /identity QE version 2, expected TD_QE version 2 or 3/,
  },
  {
    what: "a QE identity of another version",
    edit: (scene) => {
      scene.qeIdentity["version"] = 4;
    },
    fails: ["qe-identity collateral-mismatch"],
    says: /TD_QE version 4/,
  },
  {
    what: "the identity of the TD quoting enclave for an SGX quote",
    scene: goodSgxScene,
    edit: (scene) => {
      scene.qeIdentity["id"] = "TD_QE";
    },
    fails: ["qe-identity collateral-mismatch"],
    says: /expected QE version 2/,
  },
  {
    what: "SGX's identity in version 3",
    scene: goodSgxScene,
    edit: (scene) => {
      scene.qeIdentity["version"] = 3;
    },
    fails: ["qe-identity collateral-mismatch"],
    says: /QE version 3/,
  },

  {
    what: "a revoked PCK certificate",
    edit: (scene) => {
      scene.pckCrl.revoked = [1, 102, 7];
    },
    fails: ["pck-chain certificate-revoked"],
    says: /PCK Certificate" \(serial 66\) is revoked/,
  },
  {
    what: "a revoked PCK authority",
    edit: (scene) => {
      scene.rootCrl.revoked = [101];
    },
    fails: ["pck-crl certificate-revoked", "pck-chain certificate-revoked"],
    says: /Platform CA" \(serial 65\) is revoked/,
  },
  {
    what: "an expired PCK certificate",
    edit: (scene) => {
      scene.certificates.pck.notAfter = scene.now - 1;
    },
    fails: ["pck-chain certificate-expired"],
    says: /PCK Certificate" expired at/,
  },
  {
    what: "a PCK certificate from the future",
    edit: (scene) => {
      scene.certificates.pck.notBefore = scene.now + 1;
    },
    fails: ["pck-chain certificate-not-yet-valid"],
    says: /valid only from/,
  },
  {
    what: "an expired PCK authority",
    edit: (scene) => {
      scene.certificates.pckCa.notAfter = scene.now - 1;
    },
    fails: ["pck-crl certificate-expired", "pck-chain certificate-expired"],
    says: /Platform CA" expired/,
  },
  {
    what: "a PCK authority from the future",
    edit: (scene) => {
      scene.certificates.pckCa.notBefore = scene.now + 1;
    },
    fails: ["pck-crl certificate-not-yet-valid", "pck-chain certificate-not-yet-valid"],
    says: /Platform CA" is valid only/,
  },
  {
    what: "a PCK certificate by another key",
    edit: (scene) => {
      scene.certificates.pck.signer = "stranger";
    },
    fails: ["pck-chain signature-invalid"],
    says: /certificate "Forged SGX PCK Certificate"/,
  },
  {
    what: "a PCK authority by another key",
    edit: (scene) => {
      scene.certificates.pckCa.signer = "stranger";
    },
    fails: ["pck-crl signature-invalid", "pck-chain signature-invalid"],
    says: /certificate "Forged SGX PCK Platform CA"/,
  },
  {
    what: "an authority without the CA flag",
    edit: (scene) => {
      scene.certificates.pckCa.ca = false;
    },
    fails: ["pck-crl chain-not-authority", "pck-chain chain-not-authority"],
    says: /no certificate authority/,
  },
  {
    what: "an authority that may not sign certificates",
    edit: (scene) => {
      scene.certificates.pckCa.signsCertificates = false;
    },
    fails: ["pck-crl chain-not-authority", "pck-chain chain-not-authority"],
    says: /no certificate authority/,
  },
  {
    what: "an authority above its path length",
    edit: (scene) => {
      // The PCK authority allows none below it; the PCK certificate stands in for one.
      Object.assign(scene.certificates.pck, { ca: true, signsCertificates: true });
      Object.assign(scene.certificates.qeSigner, { issuer: "Forged SGX PCK Certificate", signer: "pck" });
      scene.chains.qeIdentity = ["qeSigner", "pck", "pckCa", "root"];
    },
    fails: ["qe-identity chain-path-length", "pck-chain certificate-unexpected"],
    says: /allows 0 authorities below it, has 1/,
  },
  {
    what: "a platform's certificate that is an authority",
    edit: (scene) => {
      scene.certificates.pck.ca = true;
    },
    fails: ["pck-chain certificate-unexpected"],
    says: /"Forged SGX PCK Certificate" is a certificate authority; what signs a quote or a document is none/,
  },
  {
    what: "a platform's certificate whose key may sign certificates",
    edit: (scene) => {
      scene.certificates.pck.signsCertificates = true;
    },
    fails: ["pck-chain certificate-unexpected"],
    says: /"Forged SGX PCK Certificate" is a certificate authority/,
  },
  {
    what: "TCB info by a signer that is an authority",
    edit: (scene) => {
      Object.assign(scene.certificates.tcbSigner, { ca: true, signsCertificates: true });
    },
    fails: ["tcb-info certificate-unexpected"],
    says: /"Forged SGX TCB Signing" is a certificate authority/,
  },
  {
    what: "a QE identity that the authority of platforms signed",
    edit: (scene) => {
      scene.chains.qeIdentity = ["pckCa", "root"];
      scene.signers.qeIdentity = "pckCa";
    },
    fails: ["qe-identity certificate-unexpected"],
    says: /"Forged SGX PCK Platform CA" is a certificate authority/,
  },
  {
    what: "a PCK CRL by an authority that may sign certificates alone",
    edit: (scene) => {
      scene.certificates.pckCa.keyUsage = 0x04;
    },
    fails: ["pck-crl certificate-unexpected"],
    says: /may not sign revocation lists by its key usage/,
  },
  {
    what: "a PCK CRL by another authority of the same name",
    edit: (scene) => {
      scene.certificates.qeSigner = { ...scene.certificates.pckCa, key: "stranger", serial: 105 };
      scene.chains.pckCrl = ["qeSigner", "root"];
      scene.chains.qeIdentity = ["tcbSigner", "root"];
      scene.signers.qeIdentity = "tcbSigner";
      scene.pckCrl.signer = "stranger";
    },
    fails: ["pck-chain revocation-list-mismatch"],
    says: /revocation list of "Forged SGX PCK Platform CA" is by another key than the one that issued "Forged SGX PCK Certificate"/,
  },
  {
    what: "a platform's certificate that does not say its kind of SGX",
    edit: (scene) => {
      scene.certificates.pck.platform!.sgxType = undefined;
    },
    fails: ["pck-chain certificate-malformed"],
    says: /\.5 is missing/,
  },
  {
    what: "a platform's PCESVN above two bytes",
    edit: (scene) => {
      scene.certificates.pck.platform!.pceSvn = 65_536;
    },
    fails: ["pck-chain certificate-malformed"],
    says: /PCESVN 65536, expected at most 65535/,
  },
  {
    what: "a certificate with a critical extension that nobody knows",
    edit: (scene) => {
      scene.certificates.pck.unknownCritical = "1.2.3.4";
    },
    fails: ["pck-chain certificate-malformed"],
    says: /unknown critical extension 1\.2\.3\.4/,
  },
  {
    what: "a PCK chain in the wrong order",
    edit: (scene) => {
      scene.chains.pck = ["pckCa", "pck", "root"];
    },
    fails: ["pck-chain certificate-malformed"],
    says: /no SGX extension/,
  },
  {
    what: "a PCK chain without its authority",
    edit: (scene) => {
      scene.chains.pck = ["pck", "root"];
    },
    fails: ["pck-chain chain-broken"],
    says: /issued by "Forged SGX PCK Platform CA", the next certificate is "Forged SGX Root CA"/,
  },
  {
    what: "a PCK chain with a signer in its middle",
    edit: (scene) => {
      scene.chains.pck = ["pck", "tcbSigner", "root"];
    },
    fails: ["pck-chain chain-broken"],
    says: /the next certificate is "Forged SGX TCB Signing"/,
  },
  {
    what: "a chain without end",
    edit: (scene) => {
      scene.chains.pck = ["pck", "pckCa", "pckCa", "pckCa", "pckCa", "pckCa", "root"];
    },
    fails: ["pck-chain chain-length"],
    says: /chain of 6 certificates/,
  },
  {
    what: "a chain of five that is none",
    edit: (scene) => {
      scene.chains.pck = ["pck", "pckCa", "pckCa", "pckCa", "pckCa", "root"];
    },
    fails: ["pck-chain chain-broken"],
    says: /the next certificate is "Forged SGX PCK Platform CA"/,
  },
  {
    what: "a chain under another root of the same name",
    edit: (scene) => {
      scene.certificates.pckCa.signer = "stranger";
      scene.chains.pck = ["pck", "pckCa"];
    },
    fails: ["pck-crl signature-invalid", "pck-chain signature-invalid"],
    says: /does not hold/,
  },

  {
    what: "a QE report by another key",
    edit: (scene) => {
      scene.signers.qeReport = "stranger";
    },
    fails: ["qe-report-signature signature-invalid"],
    says: /signature of the QE report/,
  },
  {
    what: "an attestation key that the QE does not name",
    edit: (scene) => {
      scene.keepQeReportData = true;
    },
    fails: ["attestation-key attestation-key-unbound"],
    says: /QE report data 0000.*, expected SHA-256/,
  },
  {
    what: "a quote by another key",
    edit: (scene) => {
      scene.signers.quote = "stranger";
    },
    fails: ["quote-signature signature-invalid"],
    says: /signature of the quote/,
  },

  {
    what: "a QE of another signer",
    edit: (scene) => {
      scene.qeReport[ENCLAVE.mrSigner] = 1;
    },
    fails: ["qe-measurement qe-mismatch"],
    says: /MRSIGNER of the quoting enclave 0144.*expected 4444/,
  },
  {
    what: "a QE of another product",
    edit: (scene) => {
      scene.qeReport[ENCLAVE.isvProdId] = 3;
    },
    fails: ["qe-measurement qe-mismatch"],
    says: /product id of the quoting enclave 3, expected 2/,
  },
  {
    what: "a QE in debug mode",
    edit: (scene) => {
      scene.qeReport[ENCLAVE.attributes]! |= 2;
      scene.qeIdentity["attributes"] = `13${"00".repeat(15)}`;
    },
    fails: ["qe-measurement qe-debug"],
    says: /debug mode/,
  },
  {
    what: "a QE with another MISCSELECT",
    edit: (scene) => {
      scene.qeReport[ENCLAVE.miscSelect + 3] = 1;
    },
    fails: ["qe-measurement qe-mismatch"],
    says: /MISCSELECT of the quoting enclave 00000001, expected 00000000 under mask ffffffff/,
  },
  {
    what: "a QE with another attribute",
    edit: (scene) => {
      scene.qeReport[ENCLAVE.attributes + 1] = 1;
    },
    fails: ["qe-measurement qe-mismatch"],
    says: /ATTRIBUTES of the quoting enclave 1101/,
  },
  {
    what: "a QE below every level",
    edit: (scene) => {
      scene.qeReport[ENCLAVE.isvSvn] = 3;
    },
    fails: ["qe-measurement qe-level-missing", "tcb-status tcb-level-missing"],
    says: /no level for QE security version 3, the lowest that Intel lists is 4/,
  },

  {
    what: "collateral of another FMSPC",
    edit: (scene) => {
      scene.tcbInfo["fmspc"] = "00A067110000";
    },
    fails: ["platform-identity platform-mismatch"],
    says: /FMSPC 90c06f000000.*TCB info: 00a067110000/,
  },
  {
    what: "collateral of another PCEID",
    edit: (scene) => {
      scene.tcbInfo["pceId"] = "0001";
    },
    fails: ["platform-identity platform-mismatch"],
    says: /PCEID 0000.*0001/,
  },
  {
    what: "a platform below every level",
    edit: (scene) => {
      scene.certificates.pck.platform!.pceSvn = 10;
    },
    fails: ["tcb-level tcb-level-missing", "tcb-status tcb-level-missing"],
    says: /no matching TCB level: OutOfDate .* needs PCESVN at 11 \(has 10\) .*; UpToDate .* needs PCESVN at 13 \(has 10\)/,
  },

  {
    what: "a TDX module version without identity",
    edit: (scene) => {
      scene.body[TD.teeTcbSvn + 1] = 3;
    },
    fails: ["tdx-module module-unknown", "tcb-status tcb-level-missing"],
    says: /version 3 has no identity in the TCB info, which lists TDX_01/,
  },
  {
    what: "a version 0 module where the document has none",
    edit: (scene) => {
      scene.body[TD.teeTcbSvn + 1] = 0;
      delete scene.tcbInfo["tdxModule"];
    },
    fails: ["tdx-module module-unknown", "tcb-status tcb-level-missing"],
    says: /version 0 has no identity/,
  },
  {
    what: "a module of another signer",
    edit: (scene) => {
      scene.body[TD.mrSignerSeam] = 1;
    },
    fails: ["tdx-module module-mismatch", "tcb-status tcb-level-missing"],
    says: /MRSIGNERSEAM 0100.*expected zeros/,
  },
  {
    what: "a module whose identity names another signer",
    edit: (scene) => {
      moduleOf(scene)["mrsigner"] = "01".repeat(48);
    },
    fails: ["tdx-module module-mismatch", "tcb-status tcb-level-missing"],
    says: /MRSIGNERSEAM 0000.*expected 0101/,
  },
  {
    what: "a module with another attribute",
    edit: (scene) => {
      scene.body[TD.seamAttributes] = 1;
    },
    fails: ["tdx-module module-mismatch", "tcb-status tcb-level-missing"],
    says: /SEAM attributes 0100000000000000, expected 0000000000000000/,
  },
  {
    what: "a module with an attribute outside the mask",
    edit: (scene) => {
      scene.body[TD.seamAttributes] = 1;
      moduleOf(scene)["attributesMask"] = "FEFFFFFFFFFFFFFF";
    },
    fails: ["tdx-module module-mismatch", "tcb-status tcb-level-missing"],
    says: /under mask feff/,
  },
  {
    what: "a module without an attribute that it must have",
    edit: (scene) => {
      moduleOf(scene)["attributes"] = "0100000000000000";
    },
    fails: ["tdx-module module-mismatch", "tcb-status tcb-level-missing"],
    says: /expected 0100/,
  },
  {
    what: "a module below every level",
    edit: (scene) => {
      scene.body[TD.teeTcbSvn] = 1;
    },
    fails: ["tdx-module module-level-missing", "tcb-status tcb-level-missing"],
    says: /TDX_01: no level for security version 1, the lowest that Intel lists is 2/,
  },

  {
    what: "a revoked platform level",
    edit: (scene) => {
      levelsOf(scene.tcbInfo)[0]!["tcbStatus"] = "Revoked";
    },
    fails: ["tcb-status tcb-revoked"],
    says: /is revoked/,
  },
  {
    what: "a revoked module level",
    edit: (scene) => {
      levelsOf(moduleOf(scene))[0]!["tcbStatus"] = "Revoked";
    },
    fails: ["tcb-status tcb-revoked"],
    says: /is revoked/,
  },
  {
    what: "a revoked QE level",
    edit: (scene) => {
      levelsOf(scene.qeIdentity)[0]!["tcbStatus"] = "Revoked";
    },
    fails: ["tcb-status tcb-revoked"],
    says: /is revoked/,
  },

  {
    what: "a TD in debug mode",
    edit: (scene) => {
      scene.body[TD.attributes] = 1;
    },
    fails: ["td-attributes td-debug"],
    says: /Debug mode is not allowed: TD attributes 0100001000000000/,
  },
  {
    what: "a TD without SEPT_VE_DISABLE",
    edit: (scene) => {
      scene.body[TD.attributes + 3] = 0;
    },
    fails: ["td-attributes td-attributes"],
    says: /SEPT_VE_DISABLE is clear/,
  },
  {
    what: "an enclave in debug mode",
    scene: goodSgxScene,
    edit: (scene) => {
      scene.body[ENCLAVE.attributes]! |= 2;
    },
    fails: ["td-attributes enclave-debug"],
    says: /the enclave is in debug mode: ATTRIBUTES 13/,
  },
  {
    what: "a TD that another one may migrate",
    scene: version5,
    edit: (scene) => {
      scene.body[TD.mrServiceTd + 47] = 1;
    },
    fails: ["service-td service-td"],
    says: /MRSERVICETD.*expected zeros/,
  },
];

for (const { what, scene: make = goodScene, edit, fails, says } of rows) {
  test(`refuses ${what}`, () => {
    const scene = make();
    assert.deepEqual(failuresOf(verifyScene(scene)), [], "good before the edit");
    edit(scene);
    const verification = verifyScene(scene);
    assert.deepEqual(failuresOf(verification), fails);
    assert.match(
      verification.checks
        .filter(({ result }) => result === "fail")
        .map(({ reason }) => reason)
        .join("\n"),
      says,
    );
  });
}

// DS #0b, #1140: more authorities and signers stand under Intel's root than may speak of platforms.
const roles: readonly (readonly [string, (scene: Scene) => void, string[]])[] = [
  ["PCK certificate", ({ certificates }) => (certificates.pck.name = "Forged SGX Certificate"), ["pck-chain"]],
  [
    "authority of PCK certificates",
    ({ certificates, pckCrl }) => {
      certificates.pckCa.name = "Forged SGX Other CA";
      certificates.pck.issuer = "Forged SGX Other CA";
      pckCrl.issuer = "Forged SGX Other CA";
    },
    ["pck-crl", "pck-chain"],
  ],
  [
    "signer of TCB info and QE identity",
    ({ certificates }) => (certificates.tcbSigner.name = "Forged SGX Signing"),
    ["tcb-info", "qe-identity"],
  ],
];

for (const [what, edit, checks] of roles) {
  test(`demands of the ${what} its name under Intel's root alone`, () => {
    const verify = (scene: Scene, kind: "intel" | "external"): QuoteVerification => {
      const { rootPem } = forge(scene);
      return verifyScene(scene, { trustAnchor: { ...trustAnchorFromPem(rootPem), kind } });
    };
    const scene = goodScene();
    scene.chains.qeIdentity = ["tcbSigner", "root"];
    scene.signers.qeIdentity = "tcbSigner";
    assert.deepEqual(failuresOf(verify(scene, "intel")), [], "good before the edit");
    edit(scene);
    assert.deepEqual(failuresOf(verify(scene, "external")), []);
    const refused = verify(scene, "intel");
    assert.deepEqual(
      failuresOf(refused),
      checks.map((check) => `${check} certificate-unexpected`),
    );
    assert.match(refused.ok ? "" : refused.reason, new RegExp(`is not Intel's ${what} by its name`));
  });
}

test("refuses certificates and lists signed by another algorithm", () => {
  const scene = goodScene();
  const { quote, collateral, rootPem, now } = forge(scene);
  // ecdsa-with-SHA384 in place of SHA-256, wherever it stands.
  const otherAlgorithm = (hex: string): string => hex.replaceAll("06082a8648ce3d040302", "06082a8648ce3d040303");
  const otherChain = (pem: string): string => {
    const [signer, ...rest] = readPem(pem, "CERTIFICATE");
    return [parseHex(otherAlgorithm(toHex(signer!))), ...rest].map((der) => writePem(der, "CERTIFICATE")).join("");
  };
  for (const [name, check, edit] of [
    ["root_ca_crl", "root-crl", otherAlgorithm],
    ["pck_crl", "pck-crl", otherAlgorithm],
    ["tcb_info_issuer_chain", "tcb-info", otherChain],
    ["qe_identity_issuer_chain", "qe-identity", otherChain],
  ] as const) {
    const verification = verifyQuote(
      quote,
      collateralFromJson({ ...collateral, [name]: edit(collateral[name] ?? "") }),
      { now, trustAnchor: trustAnchorFromPem(rootPem) },
    );
    assert.deepEqual(failuresOf(verification), [`${check} signature-algorithm`]);
    assert.match(
      verification.ok ? "" : verification.reason,
      /signed with 1\.2\.840\.10045\.4\.3\.3, expected ECDSA SHA-256/,
    );
  }
});

test("gives no code where there is none", () => {
  assert.deepEqual(Object.keys(fail("why")), ["result", "reason"]);
});

// Audit row 06: every bit of the debug group refuses, and so does every reserved one.
test("refuses each TD attribute bit that is not allowed, and only those", () => {
  for (let bit = 0; bit < 64; bit++) {
    if (bit === 28) continue;
    const scene = goodScene();
    scene.body[TD.attributes + (bit >> 3)]! |= 1 << (bit & 7);
    const expected = bit === 30 || bit === 31 ? [] : [`td-attributes ${bit < 8 ? "td-debug" : "td-attributes"}`];
    assert.deepEqual(failuresOf(verifyScene(scene)), expected, `bit ${bit}`);
  }
});

test("accepts every quote version with each body, and gives every check a name", () => {
  const scenes: readonly (readonly [string, Scene])[] = [
    ["version 3 SGX", goodSgxScene()],
    ["version 4 SGX", Object.assign(goodSgxScene(), { version: 4 })],
    ["version 5 SGX", Object.assign(goodSgxScene(), { version: 5 })],
    ["version 4 TDX", goodScene()],
    ["version 5 TDX 1.0", Object.assign(goodScene(), { version: 5 })],
    ["version 5 TDX 1.5", version5()],
  ];
  for (const [name, scene] of scenes) {
    const verification = verifyScene(scene);
    assert.ok(verification.ok, `${name}: ${verification.ok ? "" : verification.reason}`);
    assert.equal(verification.quote.header.version, scene.version);
    assert.deepEqual(
      verification.checks.map((check) => check.name),
      [
        "quote-format",
        "collateral-format",
        "quote-header",
        "trust-anchor",
        "collateral-fresh",
        "root-crl",
        "pck-crl",
        "tcb-info",
        "qe-identity",
        "pck-chain",
        "qe-report-signature",
        "attestation-key",
        "qe-measurement",
        "quote-signature",
        "platform-identity",
        "tcb-level",
        "tdx-module",
        "tcb-status",
        "td-attributes",
        "service-td",
      ],
    );
  }
});

test("takes bytes after the authentication data, as providers send them", () => {
  for (const tail of [new Uint8Array(1), new Uint8Array(3065), new Uint8Array(39).fill(0x41)]) {
    assert.ok(verifyScene(Object.assign(goodScene(), { tail })).ok);
  }
});

test("takes QE authentication data of any length that hashes right, and none that does not", () => {
  for (const length of [0, 1, 31, 33, 1000])
    assert.ok(verifyScene(Object.assign(goodScene(), { qeAuthData: new Uint8Array(length).fill(9) })).ok);
  // The hash fits and the rest of the report data is not zero.
  const scene = goodScene();
  scene.qeReport[ENCLAVE.reportData + 63] = 1;
  assert.deepEqual(failuresOf(verifyScene(scene)), ["attestation-key attestation-key-unbound"]);
});

test("says of each verdict until when the collateral holds", () => {
  const scene = goodScene();
  const plain = verifyScene(scene);
  assert.equal(plain.ok && plain.goodUntil, scene.now + 29 * DAY);
  scene.certificates.pck.notAfter = scene.now + 5;
  const shorter = verifyScene(scene);
  assert.equal(shorter.ok && shorter.goodUntil, scene.now + 5);
  scene.certificates.tcbSigner.notAfter = scene.now;
  const shortest = verifyScene(scene);
  assert.equal(shortest.ok && shortest.goodUntil, scene.now, "a period ends with its last second");
});

test("does not judge documents of no date at all", () => {
  assert.deepEqual(failuresOf(verifyScene(goodScene(), { now: Number.NaN })).slice(0, 2), [
    "trust-anchor certificate-expired",
    "collateral-fresh collateral-expired",
  ]);
});

test("takes a certificate chain with and without its root, and never the sent root for the configured one", () => {
  const scene = goodScene();
  scene.chains = { pck: ["pck", "pckCa"], pckCrl: ["pckCa"], tcbInfo: ["tcbSigner"], qeIdentity: ["qeSigner"] };
  assert.ok(verifyScene(scene).ok);
  // Issued by itself under the root's name, with another key: no copy of the anchor, so part of the chain.
  const other = goodScene();
  other.certificates.qeSigner = {
    ...other.certificates.root,
    ca: false,
    signsCertificates: false,
    key: "stranger",
    signer: "stranger",
    serial: 105,
  };
  other.chains.qeIdentity = ["qeSigner"];
  other.signers.qeIdentity = "stranger";
  assert.deepEqual(failuresOf(verifyScene(other)), ["qe-identity signature-invalid"]);
});

test("reads levels of TCB info in version 2, which is for SGX", () => {
  const scene = goodSgxScene();
  scene.tcbInfo["version"] = 2;
  delete scene.tcbInfo["id"];
  const numbered = Object.fromEntries(
    Array.from({ length: 16 }, (_, index) => [`sgxtcbcomp${String(index + 1).padStart(2, "0")}svn`, 5]),
  );
  scene.tcbInfo["tcbLevels"] = [
    { ...tcbLevel({ sgx: [], pceSvn: 13, tdx: [], status: "UpToDate" }), tcb: { ...numbered, pcesvn: 13 } },
  ];
  const verification = verifyScene(scene);
  assert.ok(verification.ok && verification.status === "UpToDate", verification.ok ? "" : verification.reason);
});

function moduleOf(scene: Scene): Record<string, unknown> {
  return (scene.tcbInfo["tdxModuleIdentities"] as Record<string, unknown>[])[0]!;
}

function levelsOf(document: Record<string, unknown>): Record<string, unknown>[] {
  return document["tcbLevels"] as Record<string, unknown>[];
}
