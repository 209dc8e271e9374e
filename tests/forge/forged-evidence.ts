/**
 * Quotes and collateral under a root of our own in which every field can be set and everything is
 * signed again afterwards, so that a verdict turns on one rule alone. Laid out as Intel's: header,
 * report, authentication data, PCK chain; revocation lists; TCB info and QE identity of API version 4.
 */
import { createHash, sign } from "node:crypto";
import { concatBytes, parseHex, toHex, u16le, u32le, utf8 } from "@dstack/bytes";
import { privateKeyObject } from "@dstack/keys";
import { forgeCertificate, forgeRevocationList } from "./forged-certificates.ts";
import type { CertificateFields, RevocationFields } from "./forged-certificates.ts";
import { keyOf, type KeyName } from "./forging-keys.ts";
import { writePem } from "@dstack/der";

export interface Scene {
  /** Unix seconds at which all of it is valid. */
  now: number;
  version: number;
  attestationKeyType: number;
  teeType: number;
  vendorId: Uint8Array;
  /** Only written in version 5. */
  bodyType: number;
  /** TD report of 584 or 648 bytes, or enclave report of 384. */
  body: Uint8Array;
  /** 384 bytes; its report data is filled in unless `keepQeReportData`. */
  qeReport: Uint8Array;
  keepQeReportData: boolean;
  qeAuthData: Uint8Array;
  certificates: {
    root: CertificateFields;
    pckCa: CertificateFields;
    pck: CertificateFields;
    tcbSigner: CertificateFields;
    qeSigner: CertificateFields;
  };
  /** Which certificates are sent, leaf first. */
  chains: {
    pck: CertificateName[];
    pckCrl: CertificateName[];
    tcbInfo: CertificateName[];
    qeIdentity: CertificateName[];
  };
  rootCrl: RevocationFields;
  pckCrl: RevocationFields;
  tcbInfo: Record<string, unknown>;
  qeIdentity: Record<string, unknown>;
  /** Whose key signs what. */
  signers: { quote: KeyName; qeReport: KeyName; tcbInfo: KeyName; qeIdentity: KeyName };
  /** Bytes after the authentication data. */
  tail: Uint8Array;
}

export type CertificateName = keyof Scene["certificates"];

/** Evidence as the library of the reference takes it; ours reads the same JSON. */
export interface Forged {
  readonly quote: Uint8Array;
  readonly collateral: Readonly<Record<string, string>>;
  readonly rootPem: string;
  readonly rootDer: Uint8Array;
  readonly now: number;
}

/** Offsets in a TD report. */
export const TD = {
  teeTcbSvn: 0,
  mrSeam: 16,
  mrSignerSeam: 64,
  seamAttributes: 112,
  attributes: 120,
  xfam: 128,
  mrTd: 136,
  reportData: 520,
  teeTcbSvn2: 584,
  mrServiceTd: 600,
} as const;
/** Offsets in an enclave report. */
export const ENCLAVE = {
  cpuSvn: 0,
  miscSelect: 16,
  attributes: 48,
  mrSigner: 128,
  isvProdId: 256,
  isvSvn: 258,
  reportData: 320,
} as const;

const INTEL_QE_VENDOR = parseHex("939a7233f79c4ca9940a0db3957f0607");
const DAY = 86_400;
const DEFAULT_NOW = Date.UTC(2030, 5, 15) / 1000;
const FMSPC = parseHex("90c06f000000");
const PCE_ID = parseHex("0000");

/** A scene in which everything holds: an up-to-date TDX platform, quote version 4. */
export function goodScene(now = DEFAULT_NOW): Scene {
  const window = { notBefore: now - 400 * DAY, notAfter: now + 4000 * DAY };
  const authority = { ca: true, signsCertificates: true, ...window };
  const leaf = { ca: false, signsCertificates: false, ...window };
  const fresh = { thisUpdate: now - DAY, nextUpdate: now + 29 * DAY, revoked: [] as number[] };
  return {
    now,
    version: 4,
    attestationKeyType: 2,
    teeType: 0x81,
    vendorId: INTEL_QE_VENDOR,
    bodyType: 2,
    body: tdReport(584),
    qeReport: qeReport(),
    keepQeReportData: false,
    qeAuthData: Uint8Array.from({ length: 32 }, (_, i) => i),
    certificates: {
      root: {
        name: "Forged SGX Root CA",
        issuer: "Forged SGX Root CA",
        key: "root",
        signer: "root",
        serial: 100,
        ...authority,
      },
      pckCa: {
        name: "Forged SGX PCK Platform CA",
        issuer: "Forged SGX Root CA",
        key: "pckCa",
        signer: "root",
        serial: 101,
        pathLength: 0,
        ...authority,
      },
      pck: {
        name: "Forged SGX PCK Certificate",
        issuer: "Forged SGX PCK Platform CA",
        key: "pck",
        signer: "pckCa",
        serial: 102,
        ...leaf,
        platform: {
          ppid: parseHex("00112233445566778899aabbccddeeff"),
          cpuSvn: new Uint8Array(16).fill(5),
          pceSvn: 13,
          pceId: PCE_ID,
          fmspc: FMSPC,
        },
      },
      tcbSigner: {
        name: "Forged SGX TCB Signing",
        issuer: "Forged SGX Root CA",
        key: "tcbSigner",
        signer: "root",
        serial: 103,
        ...leaf,
      },
      qeSigner: {
        name: "Forged SGX QE Signing",
        issuer: "Forged SGX Root CA",
        key: "qeSigner",
        signer: "root",
        serial: 104,
        ...leaf,
      },
    },
    chains: {
      pck: ["pck", "pckCa", "root"],
      pckCrl: ["pckCa", "root"],
      tcbInfo: ["tcbSigner", "root"],
      qeIdentity: ["qeSigner", "root"],
    },
    rootCrl: { issuer: "Forged SGX Root CA", signer: "root", ...fresh },
    pckCrl: { issuer: "Forged SGX PCK Platform CA", signer: "pckCa", ...fresh },
    tcbInfo: tcbInfo(now),
    qeIdentity: qeIdentity(now),
    signers: { quote: "attestation", qeReport: "pck", tcbInfo: "tcbSigner", qeIdentity: "qeSigner" },
    tail: new Uint8Array(0),
  };
}

/** The same platform as an SGX one with a quote of version 3. */
export function goodSgxScene(now = DEFAULT_NOW): Scene {
  const scene = goodScene(now);
  scene.version = 3;
  scene.teeType = 0;
  scene.bodyType = 1;
  scene.body = qeReport();
  scene.tcbInfo = { ...scene.tcbInfo, id: "SGX" };
  delete scene.tcbInfo["tdxModule"];
  delete scene.tcbInfo["tdxModuleIdentities"];
  scene.qeIdentity = { ...scene.qeIdentity, id: "QE" };
  return scene;
}

/** Writes and signs everything that the scene says. */
export function forge(scene: Scene): Forged {
  const ders = Object.fromEntries(
    Object.entries(scene.certificates).map(([name, fields]) => [name, forgeCertificate(fields)]),
  ) as Record<CertificateName, Uint8Array>;
  const chain = (names: readonly CertificateName[]): string =>
    names.map((name) => writePem(ders[name], "CERTIFICATE")).join("");
  const tcbInfoText = JSON.stringify(scene.tcbInfo);
  const qeIdentityText = JSON.stringify(scene.qeIdentity);
  return {
    quote: quoteBytes(scene, utf8(chain(scene.chains.pck))),
    collateral: {
      pck_crl_issuer_chain: chain(scene.chains.pckCrl),
      root_ca_crl: toHex(forgeRevocationList(scene.rootCrl)),
      pck_crl: toHex(forgeRevocationList(scene.pckCrl)),
      tcb_info_issuer_chain: chain(scene.chains.tcbInfo),
      tcb_info: tcbInfoText,
      tcb_info_signature: toHex(ecdsa(scene.signers.tcbInfo, utf8(tcbInfoText))),
      qe_identity_issuer_chain: chain(scene.chains.qeIdentity),
      qe_identity: qeIdentityText,
      qe_identity_signature: toHex(ecdsa(scene.signers.qeIdentity, utf8(qeIdentityText))),
    },
    rootPem: writePem(ders.root, "CERTIFICATE"),
    rootDer: ders.root,
    now: scene.now,
  };
}

function quoteBytes(scene: Scene, chain: Uint8Array): Uint8Array {
  const signed = concatBytes(
    u16le(scene.version),
    u16le(scene.attestationKeyType),
    u32le(scene.teeType),
    u16le(0),
    u16le(0),
    scene.vendorId,
    new Uint8Array(20),
    ...(scene.version === 5 ? [u16le(scene.bodyType), u32le(scene.body.length)] : []),
    scene.body,
  );
  const attestationKey = keyOf("attestation").publicPoint.subarray(1);
  const report = Uint8Array.from(scene.qeReport);
  if (!scene.keepQeReportData)
    report.set(createHash("sha256").update(attestationKey).update(scene.qeAuthData).digest(), ENCLAVE.reportData);
  const certification = concatBytes(
    report,
    ecdsa(scene.signers.qeReport, report),
    u16le(scene.qeAuthData.length),
    scene.qeAuthData,
    u16le(5),
    u32le(chain.length),
    chain,
  );
  const head = concatBytes(ecdsa(scene.signers.quote, signed), attestationKey);
  const authentication =
    scene.version === 3
      ? concatBytes(head, certification)
      : concatBytes(head, u16le(6), u32le(certification.length), certification);
  return concatBytes(signed, u32le(authentication.length), authentication, scene.tail);
}

/** r and s of an ECDSA SHA-256 signature. */
const ecdsa = (signer: KeyName, message: Uint8Array): Uint8Array =>
  new Uint8Array(sign("sha256", message, { key: privateKeyObject(keyOf(signer)), dsaEncoding: "ieee-p1363" }));

/** A report of `length` 584 (1.0) or 648 (1.5): TDX module version 1, SEPT_VE_DISABLE set. */
export function tdReport(length: 584 | 648): Uint8Array {
  const report = new Uint8Array(length);
  report.set([5, 1, 6], TD.teeTcbSvn);
  report.fill(0x5b, TD.mrSeam, TD.mrSeam + 48);
  report[TD.attributes + 3] = 0x10;
  report.set(parseHex("e702060000000000"), TD.xfam);
  for (let register = 0; register < 9; register++)
    report.fill(0x11 * (register + 1), TD.mrTd + 48 * register, TD.mrTd + 48 * (register + 1));
  if (length === 648) report.set([5, 1, 6], TD.teeTcbSvn2);
  return report;
}

function qeReport(): Uint8Array {
  const report = new Uint8Array(384);
  report.fill(5, ENCLAVE.cpuSvn, 16);
  report.fill(0x44, ENCLAVE.mrSigner, ENCLAVE.mrSigner + 32);
  report[ENCLAVE.attributes] = 0x11;
  report.set(u16le(2), ENCLAVE.isvProdId);
  report.set(u16le(8), ENCLAVE.isvSvn);
  return report;
}

const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");

export interface LevelFields {
  readonly sgx: readonly number[];
  readonly pceSvn: number;
  readonly tdx: readonly number[];
  readonly status: string;
  readonly advisories?: readonly string[];
}

/** A TCB level as the document writes it. */
export function tcbLevel({ sgx, pceSvn, tdx, status, advisories }: LevelFields): Record<string, unknown> {
  const components = (svns: readonly number[]): { svn: number }[] =>
    Array.from({ length: 16 }, (_, index) => ({ svn: svns[index] ?? 0 }));
  return {
    tcb: { sgxtcbcomponents: components(sgx), pcesvn: pceSvn, tdxtcbcomponents: components(tdx) },
    tcbDate: "2029-08-14T00:00:00Z",
    tcbStatus: status,
    ...(advisories === undefined ? {} : { advisoryIDs: advisories }),
  };
}

function tcbInfo(now: number): Record<string, unknown> {
  const module = { mrsigner: "00".repeat(48), attributes: "0000000000000000", attributesMask: "FFFFFFFFFFFFFFFF" };
  const isvLevel = (isvsvn: number, status: string): object => ({
    tcb: { isvsvn },
    tcbDate: "2029-08-14T00:00:00Z",
    tcbStatus: status,
  });
  return {
    id: "TDX",
    version: 3,
    issueDate: iso(now - DAY),
    nextUpdate: iso(now + 29 * DAY),
    fmspc: toHex(FMSPC).toUpperCase(),
    pceId: toHex(PCE_ID),
    tcbType: 0,
    tcbEvaluationDataNumber: 17,
    tdxModule: module,
    tdxModuleIdentities: [{ id: "TDX_01", ...module, tcbLevels: [isvLevel(4, "UpToDate"), isvLevel(2, "OutOfDate")] }],
    tcbLevels: [
      tcbLevel({ sgx: [5, 5, 5, 5, 5], pceSvn: 13, tdx: [5, 0, 6], status: "UpToDate" }),
      tcbLevel({
        sgx: [3, 3, 3, 3, 3],
        pceSvn: 11,
        tdx: [3, 0, 5],
        status: "OutOfDate",
        advisories: ["FORGED-SA-00001"],
      }),
    ],
  };
}

function qeIdentity(now: number): Record<string, unknown> {
  const level = (isvsvn: number, status: string, advisoryIDs?: string[]): object => ({
    tcb: { isvsvn },
    tcbDate: "2029-08-14T00:00:00Z",
    tcbStatus: status,
    ...(advisoryIDs === undefined ? {} : { advisoryIDs }),
  });
  return {
    id: "TD_QE",
    version: 2,
    issueDate: iso(now - DAY),
    nextUpdate: iso(now + 29 * DAY),
    tcbEvaluationDataNumber: 17,
    miscselect: "00000000",
    miscselectMask: "FFFFFFFF",
    attributes: "11000000000000000000000000000000",
    attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
    mrsigner: "44".repeat(32),
    isvprodid: 2,
    tcbLevels: [level(8, "UpToDate"), level(4, "OutOfDate", ["FORGED-SA-00002"])],
  };
}
