import type { QuoteCollateral } from "@dstack/attest";
import { toHex } from "@dstack/bytes";
import type { MockPki } from "./mock-pki.ts";

const DAY = 86_400;
const TCB_DATE = "2020-01-01T00:00:00Z";

/** Whose quotes the documents are for. */
export type MockTee = "tdx" | "sgx";

/** One issue of Intel's documents. The mock platform's microcode is 0: an issue that needs more finds it outdated. */
export interface MockEdition {
  readonly evaluation: number;
  readonly microcode: number;
}

const FIRST_EDITION: MockEdition = { evaluation: 1, microcode: 0 };

/** TCB info that calls the mock platform up to date, valid from a day ago for 30 days. `now` in Unix seconds. */
export function mockTcbInfo(now: number, { evaluation, microcode }: MockEdition, tee: MockTee): string {
  const component: { svn: number; category?: string; type?: string } = { svn: 0 };
  const components = Array.from({ length: 16 }, () => component);
  const level = (svn: number, tcbStatus: string, advisoryIDs?: readonly string[]): object => ({
    tcb: {
      sgxtcbcomponents: components,
      pcesvn: 0,
      ...(tee === "tdx"
        ? { tdxtcbcomponents: components.with(2, { svn, category: "OS/VMM", type: "TDX Late Microcode Update" }) }
        : {}),
    },
    tcbDate: TCB_DATE,
    tcbStatus,
    ...(advisoryIDs === undefined ? {} : { advisoryIDs }),
  });
  const module = { mrsigner: "00".repeat(48), attributes: "0000000000000000", attributesMask: "FFFFFFFFFFFFFFFF" };
  return JSON.stringify({
    id: tee.toUpperCase(),
    version: 3,
    issueDate: iso(now - DAY),
    nextUpdate: iso(now + 30 * DAY),
    fmspc: "000000000000",
    pceId: "0000",
    tcbType: 0,
    tcbEvaluationDataNumber: evaluation,
    ...(tee === "tdx" ? { tdxModule: module } : {}),
    tcbLevels: [level(microcode, "UpToDate"), ...(microcode === 0 ? [] : [level(0, "OutOfDate", ["MOCK-SA-00001"])])],
  });
}

/** Identity of the mock quoting enclave, same validity. */
export function mockQeIdentity(now: number, { evaluation }: MockEdition, tee: MockTee): string {
  return JSON.stringify({
    id: tee === "tdx" ? "TD_QE" : "QE",
    version: 2,
    issueDate: iso(now - DAY),
    nextUpdate: iso(now + 30 * DAY),
    tcbEvaluationDataNumber: evaluation,
    miscselect: "00000000",
    miscselectMask: "00000000",
    attributes: "00".repeat(16),
    attributesMask: "00".repeat(16),
    mrsigner: "44".repeat(32),
    isvprodid: 1,
    tcbLevels: [{ tcb: { isvsvn: 1 }, tcbDate: TCB_DATE, tcbStatus: "UpToDate" }],
  });
}

/** The whole collateral of the mock platform, for its TDX quotes unless said. */
export function mockCollateral(
  pki: MockPki,
  now: number,
  edition: MockEdition = FIRST_EDITION,
  tee: MockTee = "tdx",
): QuoteCollateral {
  const tcbInfo = mockTcbInfo(now, edition, tee);
  const qeIdentity = mockQeIdentity(now, edition, tee);
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
