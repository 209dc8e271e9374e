import { equalBytes, parseHex, toHex, utf8Decode } from "@dstack/bytes";
import {
  attestationFromQuote,
  decodeAttestation,
  fail,
  generatedKeysReportData,
  notBound,
  parseCertificate,
  pass,
  type Attestation,
  type Check,
  type Outcome,
} from "@dstack/attest";
import { EVIDENCE_REQUIRED, evidenceRefusal, judgeChecks, type EvidenceVerification } from "@dstack/verify";
import {
  expectedReportData,
  parseCertificates,
  readDstackExtensions,
  USAGE,
  verifyCertificateChain,
  type DstackExtensions,
} from "@dstack/ratls";
import { contractOf } from "./app-facts.ts";
import { certificateRefusal, derOf, publicKeyInfoOf } from "./certificates.ts";
import { environmentOf, judgeEvidence, rootOfTrust, type VerifyContext } from "./context.ts";
import { expectations, identityOutcome, type AppExpectations } from "./judge-app.ts";
import { concludeResult, identityOf, NO_IDENTITY, type VerifyResult } from "./result.ts";
import type { Fact } from "./fact.ts";
import { judgeTcb, platformFacts } from "./platform-tcb.ts";
import type { KmsMeta, KmsSubject } from "./subject.ts";

export interface JudgeKmsOptions {
  readonly context: VerifyContext;
  readonly expected: Omit<AppExpectations, "kmsRootPem">;
  readonly accept: readonly string[];
}

const REQUIRED = [...EVIDENCE_REQUIRED, "report-data", "tcb", "kms-certificate", "root-ca", "root-keys"];

/**
 * Judges a KMS: the certificate of its listener and the evidence in it, the root CA above it, and the
 * evidence that its root keys were made in a VM like that.
 */
export async function judgeKms(
  { url, certificates, meta }: KmsSubject,
  { context, expected, accept }: JudgeKmsOptions,
): Promise<VerifyResult> {
  const checks: Check[] = [];
  const leaf = readLeaf(certificates[0], checks);
  checks.push({ name: "root-ca", ...rootCa(certificates, meta, context) });
  const judged = leaf === undefined ? undefined : await ownEvidence(leaf, checks, context);
  if (judged === undefined) checks.push({ name: "root-of-trust", ...rootOfTrust(context) });
  checks.push(...(await rootKeys(meta, context)));
  if (judged?.attestation.ok === true)
    checks.push(
      { name: "identity", ...identityOutcome(expected, judged.attestation.appInfo) },
      ...expectations(expected, judged.attestation.appInfo),
    );
  return concludeResult(
    {
      kind: "kms",
      what: url,
      environment: environmentOf(context),
      checks,
      required: REQUIRED,
      sections: [{ title: "KMS", facts: facts(meta, judged) }],
      identity: judged === undefined ? NO_IDENTITY : identityOf(judged),
    },
    accept,
  );
}

function readLeaf(pem: string | undefined, checks: Check[]): DstackExtensions | undefined {
  const refuse = (reason: string): undefined => {
    checks.push({ name: "kms-certificate", ...fail(reason) });
    return undefined;
  };
  if (pem === undefined) return refuse("the KMS showed no certificate");
  try {
    const leaf = readDstackExtensions(derOf(pem));
    if (leaf.usage !== USAGE.kmsRpc)
      return refuse(`certificate usage: expected ${USAGE.kmsRpc}, got ${leaf.usage ?? "none"}`);
    checks.push({ name: "kms-certificate", ...pass(`usage ${leaf.usage}`) });
    return leaf;
  } catch (error) {
    const reason = certificateRefusal(error);
    if (reason === undefined) throw error;
    return refuse(reason);
  }
}

/** Bound to the key of the connection that the answers came over. */
async function ownEvidence(
  leaf: DstackExtensions,
  checks: Check[],
  context: VerifyContext,
): Promise<EvidenceVerification | undefined> {
  if (leaf.attestation === undefined) {
    checks.push({
      name: "evidence",
      ...fail(
        "the certificate of the KMS carries no evidence: it runs outside a TEE, or with attestation switched off",
      ),
    });
    return undefined;
  }
  const judged = await judgeEvidence(
    { attestation: leaf.attestation, vmConfig: leaf.attestation.config },
    context,
    expectedReportData(leaf),
  );
  checks.push(...judged.checks);
  return judged;
}

function rootCa(certificates: readonly string[], { ca_cert: rootPem }: KmsMeta, context: VerifyContext): Outcome {
  try {
    const chain = certificates.map((pem) => parseCertificate(derOf(pem)));
    const root = verifyCertificateChain({ chain, roots: parseCertificates(rootPem), now: context.now });
    return pass(`the certificate is issued under the root CA with key ${toHex(root.publicKeyInfo)}`);
  } catch (error) {
    const reason = certificateRefusal(error);
    if (reason === undefined) throw error;
    return fail(reason);
  }
}

/** That the public keys which the KMS hands out are those that a VM attested when it made them. */
async function rootKeys(meta: KmsMeta, context: VerifyContext): Promise<Check[]> {
  const made = await rootKeyEvidence(meta, context);
  if (!("tcb" in made)) return [{ name: "root-keys", ...made }];
  const { tcb, ...outcome } = made;
  // Of the day that the keys were made: that the platform has grown old since says nothing about it.
  return [
    { name: "root-keys", ...outcome },
    ...(tcb.result === "not bound"
      ? [
          {
            name: "root-keys-tcb",
            ...notBound(`the platform that made the keys is by today's documents ${tcb.reason}`),
          },
        ]
      : []),
  ];
}

async function rootKeyEvidence(
  meta: KmsMeta,
  context: VerifyContext,
): Promise<Outcome | (Outcome & { readonly tcb: Outcome })> {
  const info = meta.bootstrap_info;
  if (info === undefined || info === null)
    return notBound("the KMS has no bootstrap information: its root keys were made elsewhere, and nothing shows where");
  const ca = parseHex(info.ca_pubkey);
  const k256 = parseHex(info.k256_pubkey);
  if (!equalBytes(k256, parseHex(meta.k256_pubkey)))
    return fail(`the k256 key of the bootstrap information is ${toHex(k256)}, in force is ${meta.k256_pubkey}`);
  const root = rootKeyOf(meta.ca_cert);
  if (!equalBytes(ca, root))
    return fail(
      `the CA key of the bootstrap information is ${toHex(ca)}, that of the root CA is ${toHex(root) || "not to be read"}`,
    );
  let attestation: Attestation | undefined;
  try {
    attestation = bootstrapAttestation(info);
  } catch (error) {
    const reason = evidenceRefusal(error);
    if (reason === undefined) throw error;
    return fail(`the bootstrap evidence cannot be read: ${reason}`);
  }
  if (attestation === undefined) return notBound("no evidence shows that the root keys were made in a TEE");
  const { checks, attestation: verified } = await judgeEvidence(
    { attestation, vmConfig: attestation.config },
    context,
    generatedKeysReportData(ca, k256),
  );
  const verdict = judgeChecks(checks, [...EVIDENCE_REQUIRED, "report-data"]);
  if (verdict.kind === "incomplete") return notBound(`the bootstrap evidence cannot be judged: ${verdict.reason}`);
  if (verdict.kind !== "verified" || !verified.ok)
    return fail(
      `the bootstrap evidence does not hold: ${verdict.kind === "verified" ? "not verified" : verdict.reason}`,
    );
  return {
    ...pass(
      `made in a VM with compose hash ${toHex(verified.appInfo.composeHash)}, OS image ${toHex(verified.appInfo.osImageHash)}`,
    ),
    tcb: judgeTcb(verified.quote, context.policy),
  };
}

function bootstrapAttestation(info: NonNullable<KmsMeta["bootstrap_info"]>): Attestation | undefined {
  if (info.attestation !== "") return decodeAttestation(parseHex(info.attestation));
  // Before 0.5.6: quote and event log, without a configuration to measure against.
  if (info.quote !== "")
    return attestationFromQuote(parseHex(info.quote), utf8Decode(parseHex(info.eventlog), "event log"));
  return undefined;
}

function rootKeyOf(pem: string): Uint8Array {
  try {
    return publicKeyInfoOf(pem);
  } catch {
    // Not a certificate: the check of the root CA says so, and no key equals this.
    return new Uint8Array(0);
  }
}

function facts(meta: KmsMeta, judged: EvidenceVerification | undefined): Fact[] {
  const contract = contractOf(meta);
  const list: Fact[] = [
    {
      name: "allow-list",
      value:
        contract === undefined
          ? "an auth server of the KMS's operator, who can change it at any time"
          : `contract ${contract} on chain ${meta.chain_id ?? "not named"}: read there who may change it`,
    },
    { name: "k256 key", value: meta.k256_pubkey },
    {
      name: "gateway",
      value:
        meta.gateway_app_id === undefined || meta.gateway_app_id === null || meta.gateway_app_id === ""
          ? "none named"
          : `app ${meta.gateway_app_id}`,
    },
  ];
  for (const setting of meta.insecure_settings)
    list.push({ name: "mode", value: `insecure setting: ${setting}`, warning: true });
  if (meta.is_dev) list.push({ name: "mode", value: "development: it releases keys to anybody", warning: true });
  if (judged?.attestation.ok === true) {
    const { appInfo, quote } = judged.attestation;
    list.push(
      { name: "mr_aggregated", value: toHex(appInfo.mrAggregated) },
      { name: "device", value: toHex(appInfo.deviceId) },
      ...platformFacts("platform", quote),
    );
  }
  return list;
}
