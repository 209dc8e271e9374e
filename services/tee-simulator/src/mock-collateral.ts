import type { QuoteCollateral } from "@dstack/attest";
import { toHex } from "@dstack/bytes";
import type { MockPki } from "./mock-pki.ts";

const DAY = 86_400;
const TCB_DATE = "2020-01-01T00:00:00Z";

/** TCB info that calls the mock platform up to date, valid from a day ago for 30 days. `now` in Unix seconds. */
export function mockTcbInfo(now: number): string {
  const component = { svn: 0 };
  const components = Array.from({ length: 16 }, () => component);
  return JSON.stringify({
    id: "TDX",
    version: 3,
    issueDate: iso(now - DAY),
    nextUpdate: iso(now + 30 * DAY),
    fmspc: "000000000000",
    pceId: "0000",
    tcbType: 0,
    tcbEvaluationDataNumber: 1,
    tdxModule: { mrsigner: "00".repeat(48), attributes: "0000000000000000", attributesMask: "FFFFFFFFFFFFFFFF" },
    tcbLevels: [
      {
        tcb: { sgxtcbcomponents: components, pcesvn: 0, tdxtcbcomponents: components },
        tcbDate: TCB_DATE,
        tcbStatus: "UpToDate",
      },
    ],
  });
}

/** Identity of the mock quoting enclave, same validity. */
export function mockQeIdentity(now: number): string {
  return JSON.stringify({
    id: "TD_QE",
    version: 2,
    issueDate: iso(now - DAY),
    nextUpdate: iso(now + 30 * DAY),
    tcbEvaluationDataNumber: 1,
    miscselect: "00000000",
    miscselectMask: "00000000",
    attributes: "00".repeat(16),
    attributesMask: "00".repeat(16),
    mrsigner: "44".repeat(32),
    isvprodid: 1,
    tcbLevels: [{ tcb: { isvsvn: 1 }, tcbDate: TCB_DATE, tcbStatus: "UpToDate" }],
  });
}

/** The whole collateral of the mock platform. */
export function mockCollateral(pki: MockPki, now: number): QuoteCollateral {
  const tcbInfo = mockTcbInfo(now);
  const qeIdentity = mockQeIdentity(now);
  return {
    pckCrlIssuerChain: pki.pckCaChainPem,
    rootCaCrl: pki.rootCrl,
    pckCrl: pki.pckCrl,
    tcbInfoIssuerChain: pki.tcbChainPem,
    tcbInfo,
    tcbInfoSignature: pki.signDocument("tdx-tcb", tcbInfo),
    qeIdentityIssuerChain: pki.qeChainPem,
    qeIdentity,
    qeIdentitySignature: pki.signDocument("tdx-qe", qeIdentity),
  };
}

/** A signed document as the provisioning service sends it; the signed text goes in unchanged. */
export function signedBody(member: "tcbInfo" | "enclaveIdentity", text: string, signature: Uint8Array): string {
  return `{"${member}":${text},"signature":"${toHex(signature)}"}`;
}

const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(/\.\d+Z$/, "Z");
