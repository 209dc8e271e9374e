import { tcbLevel, tdReport, ENCLAVE, TD, goodSgxScene } from "../forge/forged-evidence.ts";
import type { Scene } from "../forge/forged-evidence.ts";
import type { Random } from "../fuzz/random.ts";

/**
 * One field of a scene changed, everything signed again: the verdict turns on one rule. `differs` names
 * rows of the table of differences where the libraries may part.
 */
export interface Edit {
  readonly name: string;
  readonly apply: (scene: Scene, random: Random) => void;
  readonly differs?: readonly string[];
}

const DAY = 86_400;
const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");
const STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
];
/** What documents give to TDX modules and quoting enclaves. */
const PART_STATUSES = ["UpToDate", "OutOfDate", "Revoked"];

interface Levels {
  tcbLevels: Record<string, unknown>[];
}
interface Module extends Levels {
  mrsigner: string;
  attributes: string;
  attributesMask: string;
  id: string;
}
const levelsOf = (document: Record<string, unknown>): Record<string, unknown>[] =>
  (document as unknown as Levels).tcbLevels;
/** The identity of module version 1, unless an earlier edit took it away. */
const moduleOf = (scene: Scene): Partial<Module> =>
  (scene.tcbInfo["tdxModuleIdentities"] as Module[] | undefined)?.[0] ?? {};
const topLevel = (document: Record<string, unknown>): Record<string, unknown> => levelsOf(document)[0] ?? {};
const isvLevel = (isvsvn: number, tcbStatus: string, advisoryIDs: string[] = []): Record<string, unknown> => ({
  tcb: { isvsvn },
  tcbDate: "2029-08-14T00:00:00Z",
  tcbStatus,
  advisoryIDs,
});
const anyBit = (random: Random, bytes: Uint8Array, from: number, length: number): void => {
  bytes[from + random.below(length)]! ^= 1 << random.below(8);
};
const svns = (random: Random, count: number): number[] => Array.from({ length: count }, () => random.below(8));
const certificateNames = ["pckCa", "pck", "tcbSigner", "qeSigner"] as const;

export const EDITS: readonly Edit[] = [
  { name: "nothing changed", apply: () => undefined },
  {
    name: "attestation key type",
    apply: (scene, random) => {
      scene.attestationKeyType = random.pick([0, 1, 3]);
    },
  },
  {
    name: "vendor id",
    apply: (scene, random) => {
      scene.vendorId = Uint8Array.from(scene.vendorId);
      anyBit(random, scene.vendorId, 0, 16);
    },
    differs: ["vendor"],
  },
  {
    name: "version 5",
    apply: (scene) => {
      scene.version = 5;
    },
  },
  {
    name: "TD report 1.5",
    apply: (scene) => {
      const body = tdReport(648);
      body.set(scene.body.subarray(0, 584));
      Object.assign(scene, { version: 5, bodyType: 3, body });
    },
  },
  {
    name: "TD report 1.5 with a service TD",
    apply: (scene, random) => {
      Object.assign(scene, { version: 5, bodyType: 3, body: tdReport(648) });
      anyBit(random, scene.body, TD.mrServiceTd, 48);
    },
  },
  {
    name: "SGX quote of version 3",
    apply: (scene) => {
      Object.assign(scene, goodSgxScene(scene.now));
    },
  },
  {
    name: "SGX quote of version 4 or 5",
    apply: (scene, random) => {
      Object.assign(scene, goodSgxScene(scene.now), { version: random.pick([4, 5]) });
    },
    differs: ["sgx-versions"],
  },
  {
    name: "SGX enclave in debug mode",
    apply: (scene) => {
      Object.assign(scene, goodSgxScene(scene.now));
      scene.body[ENCLAVE.attributes]! |= 2;
    },
  },
  {
    name: "documents of the other TEE",
    apply: (scene) => {
      const { tcbInfo, qeIdentity } = goodSgxScene(scene.now);
      Object.assign(scene, { tcbInfo, qeIdentity });
    },
  },
  {
    name: "QE identity of the other TEE",
    apply: (scene) => {
      scene.qeIdentity["id"] = "QE";
    },
  },
  {
    name: "QE identity version",
    apply: (scene, random) => {
      scene.qeIdentity["version"] = random.pick([1, 3, 4]);
    },
  },
  {
    name: "TD attributes",
    apply: (scene, random) => {
      anyBit(random, scene.body, TD.attributes, 8);
    },
    differs: ["perfmon"],
  },
  {
    name: "PERFMON in the TD attributes",
    apply: (scene) => {
      scene.body[TD.attributes + 7]! |= 0x80;
    },
    differs: ["perfmon"],
  },
  {
    name: "MRSIGNERSEAM",
    apply: (scene, random) => {
      anyBit(random, scene.body, TD.mrSignerSeam, 48);
    },
    differs: ["module-identity"],
  },
  {
    name: "SEAM attributes",
    apply: (scene, random) => {
      anyBit(random, scene.body, TD.seamAttributes, 8);
    },
    differs: ["module-identity"],
  },
  {
    name: "TDX module version",
    apply: (scene, random) => {
      scene.body[TD.teeTcbSvn + 1] = random.pick([0, 2, 3]);
    },
    differs: ["module-identity", "module-level", "tdx-components"],
  },
  {
    name: "TEE_TCB_SVN",
    apply: (scene, random) => {
      scene.body[TD.teeTcbSvn + random.below(16)] = random.below(8);
    },
    differs: ["module-identity", "module-level", "tdx-components"],
  },
  {
    name: "module identity levels",
    apply: (scene, random) => {
      moduleOf(scene).tcbLevels = [
        isvLevel(random.below(8), random.pick(PART_STATUSES), ["FORGED-SA-3"]),
        isvLevel(random.below(8), random.pick(PART_STATUSES)),
      ];
    },
    differs: ["module-identity", "module-level"],
  },
  {
    name: "module identity of another signer",
    apply: (scene) => {
      moduleOf(scene).mrsigner = "01".repeat(48);
    },
    differs: ["module-identity"],
  },
  {
    name: "no module identities",
    apply: (scene) => {
      delete scene.tcbInfo["tdxModuleIdentities"];
    },
    differs: ["module-identity"],
  },
  {
    name: "measured registers",
    apply: (scene, random) => {
      anyBit(random, scene.body, TD.mrTd, 384);
    },
  },
  {
    name: "FMSPC",
    apply: (scene, random) => {
      scene.tcbInfo["fmspc"] = random.pick(["90C06F000001", "90c06f000000", "000000000000"]);
    },
  },
  {
    name: "PCEID",
    apply: (scene, random) => {
      scene.tcbInfo["pceId"] = random.pick(["0001", "FFFF", "0000"]);
    },
    differs: ["pceid"],
  },
  {
    name: "CPUSVN",
    apply: (scene, random) => {
      scene.certificates.pck.platform!.cpuSvn = Uint8Array.from({ length: 16 }, () => random.below(8));
    },
  },
  {
    name: "PCESVN",
    apply: (scene, random) => {
      scene.certificates.pck.platform!.pceSvn = random.pick([0, 5, 10, 11, 12, 13, 14, 255, 256, 300]);
    },
  },
  {
    name: "TCB levels in order",
    apply: (scene, random) => {
      const top = svns(random, 16);
      const tdx = svns(random, 3);
      scene.tcbInfo["tcbLevels"] = [
        tcbLevel({
          sgx: top,
          pceSvn: 13,
          tdx: [tdx[0]!, 0, tdx[2]!],
          status: random.pick(STATUSES),
          advisories: ["FORGED-SA-4"],
        }),
        tcbLevel({
          sgx: top.map((svn) => Math.max(0, svn - 2)),
          pceSvn: 11,
          tdx: [0, 0, Math.max(0, tdx[2]! - 2)],
          status: random.pick(STATUSES),
        }),
        tcbLevel({
          sgx: [],
          pceSvn: 5,
          tdx: [],
          status: random.pick(STATUSES),
          advisories: ["FORGED-SA-5", "FORGED-SA-4"],
        }),
      ];
    },
    differs: ["tdx-components"],
  },
  {
    name: "TCB levels in the wrong order",
    apply: (scene) => {
      levelsOf(scene.tcbInfo).reverse();
    },
    differs: ["level-order"],
  },
  {
    name: "status of the platform",
    apply: (scene, random) => {
      topLevel(scene.tcbInfo)["tcbStatus"] = random.pick(STATUSES);
    },
  },
  {
    name: "status of platform and quoting enclave",
    apply: (scene, random) => {
      topLevel(scene.tcbInfo)["tcbStatus"] = random.pick(STATUSES);
      topLevel(scene.qeIdentity)["tcbStatus"] = random.pick(PART_STATUSES);
    },
    differs: ["merge"],
  },
  {
    name: "outdated quoting enclave on a platform to be configured",
    apply: (scene) => {
      topLevel(scene.tcbInfo)["tcbStatus"] = "ConfigurationNeeded";
      topLevel(scene.qeIdentity)["tcbStatus"] = "OutOfDate";
    },
    differs: ["merge"],
  },
  {
    name: "component 0 below the level, module current",
    apply: (scene) => {
      scene.body.set([4, 1, 6], TD.teeTcbSvn);
    },
    differs: ["tdx-components"],
  },
  {
    name: "a status that nobody knows",
    apply: (scene) => {
      topLevel(scene.tcbInfo)["tcbStatus"] = "Fine";
    },
    differs: ["strict-json"],
  },
  {
    name: "fifteen components",
    apply: (scene) => {
      (topLevel(scene.tcbInfo) as { tcb?: { sgxtcbcomponents: unknown[] } }).tcb?.sgxtcbcomponents.pop();
    },
    differs: ["strict-json"],
  },
  {
    name: "no TCB levels",
    apply: (scene) => {
      scene.tcbInfo["tcbLevels"] = [];
    },
  },
  {
    name: "TCB info version",
    apply: (scene, random) => {
      scene.tcbInfo["version"] = random.pick([1, 2]);
    },
  },
  {
    name: "a later TCB info version",
    apply: (scene) => {
      scene.tcbInfo["version"] = 4;
    },
  },
  {
    name: "TCB info from the future",
    apply: (scene) => {
      scene.tcbInfo["issueDate"] = iso(scene.now + 1);
    },
  },
  {
    name: "TCB info issued now",
    apply: (scene) => {
      scene.tcbInfo["issueDate"] = iso(scene.now);
    },
  },
  {
    name: "TCB info expired",
    apply: (scene) => {
      scene.tcbInfo["nextUpdate"] = iso(scene.now - 1);
    },
  },
  {
    name: "TCB info expiring now",
    apply: (scene) => {
      scene.tcbInfo["nextUpdate"] = iso(scene.now);
    },
  },
  {
    name: "QE identity from the future",
    apply: (scene) => {
      scene.qeIdentity["issueDate"] = iso(scene.now + 1);
    },
  },
  {
    name: "QE identity expired",
    apply: (scene) => {
      scene.qeIdentity["nextUpdate"] = iso(scene.now - 1);
    },
  },
  {
    name: "QE MRSIGNER",
    apply: (scene, random) => {
      anyBit(random, scene.qeReport, ENCLAVE.mrSigner, 32);
    },
  },
  {
    name: "QE product id",
    apply: (scene) => {
      scene.qeReport[ENCLAVE.isvProdId] = 3;
    },
  },
  {
    name: "QE attributes",
    apply: (scene, random) => {
      anyBit(random, scene.qeReport, ENCLAVE.attributes, 16);
    },
  },
  {
    name: "QE MISCSELECT",
    apply: (scene, random) => {
      anyBit(random, scene.qeReport, ENCLAVE.miscSelect, 4);
    },
  },
  {
    name: "QE MISCSELECT under a mask",
    apply: (scene, random) => {
      scene.qeIdentity["miscselectMask"] = random.pick(["00000000", "FF000000", "000000FF"]);
      anyBit(random, scene.qeReport, ENCLAVE.miscSelect, 4);
    },
  },
  {
    name: "QE security version",
    apply: (scene, random) => {
      scene.qeReport[ENCLAVE.isvSvn] = random.below(12);
    },
  },
  {
    name: "QE levels in the wrong order",
    apply: (scene) => {
      levelsOf(scene.qeIdentity).reverse();
    },
    differs: ["qe-level-order"],
  },
  {
    name: "QE identity without levels",
    apply: (scene) => {
      scene.qeIdentity["tcbLevels"] = [];
    },
  },
  {
    name: "QE authentication data of another length",
    apply: (scene, random) => {
      scene.qeAuthData = new Uint8Array(random.pick([0, 1, 31, 33, 64])).fill(7);
    },
    differs: ["qe-auth-length"],
  },
  {
    name: "attestation key that the QE did not name",
    apply: (scene, random) => {
      scene.keepQeReportData = true;
      anyBit(random, scene.qeReport, ENCLAVE.reportData, 32);
    },
  },
  {
    name: "QE report data beyond the hash",
    apply: (scene, random) => {
      anyBit(random, scene.qeReport, ENCLAVE.reportData + 32, 32);
    },
    differs: ["qe-report-data"],
  },
  {
    name: "quote signed by a stranger",
    apply: (scene) => {
      scene.signers.quote = "stranger";
    },
  },
  {
    name: "QE report signed by a stranger",
    apply: (scene) => {
      scene.signers.qeReport = "stranger";
    },
  },
  {
    name: "TCB info signed by a stranger",
    apply: (scene, random) => {
      scene.signers.tcbInfo = random.pick(["stranger", "qeSigner", "root"] as const);
    },
  },
  {
    name: "QE identity signed by a stranger",
    apply: (scene, random) => {
      scene.signers.qeIdentity = random.pick(["stranger", "tcbSigner", "root"] as const);
    },
  },
  {
    name: "certificate signed by a stranger",
    apply: (scene, random) => {
      scene.certificates[random.pick(certificateNames)].signer = "stranger";
    },
  },
  {
    name: "certificate expired",
    apply: (scene, random) => {
      scene.certificates[random.pick(certificateNames)].notAfter = scene.now - 1;
    },
  },
  {
    name: "certificate not yet valid",
    apply: (scene, random) => {
      scene.certificates[random.pick(certificateNames)].notBefore = scene.now + 1;
    },
  },
  {
    name: "certificate issued by another name",
    apply: (scene, random) => {
      scene.certificates[random.pick(certificateNames)].issuer = "Somebody Else";
    },
    differs: ["chain-names"],
  },
  {
    name: "intermediate without cA",
    apply: (scene) => {
      scene.certificates.pckCa.ca = false;
    },
    differs: ["chain-authority"],
  },
  {
    name: "intermediate that may not sign certificates",
    apply: (scene) => {
      scene.certificates.pckCa.signsCertificates = false;
    },
    differs: ["chain-authority"],
  },
  {
    name: "leaf with cA",
    apply: (scene, random) => {
      scene.certificates[random.pick(["pck", "tcbSigner", "qeSigner"] as const)].ca = true;
    },
  },
  {
    name: "unknown critical extension",
    apply: (scene, random) => {
      scene.certificates[random.pick(certificateNames)].unknownCritical = "1.2.3.4";
    },
    differs: ["critical-extension"],
  },
  {
    name: "PCK certificate revoked",
    apply: (scene) => {
      scene.pckCrl.revoked = [7, 102, 2 ** 31];
    },
  },
  {
    name: "intermediate revoked",
    apply: (scene) => {
      scene.rootCrl.revoked = [101];
    },
  },
  {
    name: "document signer revoked",
    apply: (scene, random) => {
      scene.rootCrl.revoked = [random.pick([103, 104])];
    },
  },
  {
    name: "root revoked",
    apply: (scene) => {
      scene.rootCrl.revoked = [100];
    },
  },
  {
    name: "others revoked",
    apply: (scene) => {
      scene.rootCrl.revoked = [1, 2, 3];
      scene.pckCrl.revoked = [1, 2, 3];
    },
  },
  {
    name: "the serial number in the other issuer's list",
    apply: (scene, random) => {
      if (random.oneIn(2)) scene.pckCrl.revoked = [103];
      else scene.rootCrl.revoked = [102];
    },
    differs: ["crl-other-issuer"],
  },
  {
    name: "revocation list signed by a stranger",
    apply: (scene, random) => {
      random.pick([scene.rootCrl, scene.pckCrl]).signer = "stranger";
    },
    differs: ["crl-signature"],
  },
  {
    name: "revocation list of another issuer",
    apply: (scene, random) => {
      random.pick([scene.rootCrl, scene.pckCrl]).issuer = "Somebody Else";
    },
    differs: ["crl-issuer"],
  },
  {
    name: "revocation list expired",
    apply: (scene, random) => {
      random.pick([scene.rootCrl, scene.pckCrl]).nextUpdate = scene.now - 1;
    },
    differs: ["crl-time"],
  },
  {
    name: "revocation list from the future",
    apply: (scene, random) => {
      random.pick([scene.rootCrl, scene.pckCrl]).thisUpdate = scene.now + DAY;
    },
    differs: ["crl-time"],
  },
  {
    name: "chain without the root",
    apply: (scene, random) => {
      random.pick(Object.values(scene.chains)).pop();
    },
    differs: ["short-chain"],
  },
  {
    name: "chain in reverse",
    apply: (scene, random) => {
      random.pick(Object.values(scene.chains)).reverse();
    },
    differs: ["crl-chain"],
  },
  {
    name: "chains swapped",
    apply: (scene) => {
      const { chains } = scene;
      [chains.tcbInfo, chains.pckCrl] = [chains.pckCrl, chains.tcbInfo];
    },
  },
  {
    name: "chain of the list's issuer from elsewhere",
    apply: (scene) => {
      scene.chains.pckCrl = ["tcbSigner", "root"];
    },
    differs: ["crl-chain"],
  },
  {
    name: "document signer under the platform's authority",
    apply: (scene) => {
      Object.assign(scene.certificates.tcbSigner, { issuer: "Forged SGX PCK Platform CA", signer: "pckCa" });
      scene.chains.tcbInfo = ["tcbSigner", "pckCa", "root"];
    },
    differs: ["document-signer"],
  },
  {
    name: "TCB info signed by the platform's own key",
    apply: (scene) => {
      scene.chains.tcbInfo = ["pck", "pckCa", "root"];
      scene.signers.tcbInfo = "pck";
    },
    differs: ["document-signer"],
  },
  {
    name: "component SVNs other than CPUSVN",
    apply: (scene, random) => {
      scene.certificates.pck.platform!.components = Array.from({ length: 16 }, () => random.below(8));
    },
    differs: ["tcb-components"],
  },
  {
    name: "bytes after the quote",
    apply: (scene, random) => {
      scene.tail = new Uint8Array(1 + random.below(100)).fill(random.below(2));
    },
  },
];
