import { createHash } from "node:crypto";
import { equalBytes, parseHex, toHex, utf8 } from "@dstack/bytes";
import {
  evidenceReportData,
  fail,
  notApplicable,
  notBound,
  pass,
  type AppInfo,
  type Check,
  type Outcome,
} from "@dstack/attest";
import { EVIDENCE_REQUIRED, evidenceFromJson, evidenceRefusal, type Evidence } from "@dstack/verify";
import type { HistoryEntry } from "@dstack/governance/history";
import { appFacts } from "./app-facts.ts";
import { publicKeyInfoOf } from "./certificates.ts";
import { environmentOf, judgeEvidence, type VerifyContext } from "./context.ts";
import { describeApp } from "./gateway-keys.ts";
import { keyProviderOf } from "./key-provider.ts";
import { ownKmsMeta } from "./own-kms.ts";
import { concludeResult, identityOf, NO_IDENTITY, type VerifyResult } from "./result.ts";
import type { AppSubject } from "./subject.ts";
import { judgeTlsKey } from "./tls-key.ts";

export interface AppExpectations {
  /** PEM text of the KMS's root CA that must have released the keys. */
  readonly kmsRootPem: string | undefined;
  /** Hex, without 0x; whatever is given must be what was measured. */
  readonly appId?: string | undefined;
  readonly composeHash?: string | undefined;
  readonly osImageHash?: string | undefined;
  readonly gatewayAppId?: string | undefined;
}

export interface JudgeAppOptions {
  readonly context: VerifyContext;
  readonly expected: AppExpectations;
  /** Parts of this machine's own deployment run outside a TEE, as they must here. */
  readonly local: boolean;
  /** When the nonce was chosen: for this judgement, or by whoever made a bundle. */
  readonly fresh: Outcome;
  readonly accept: readonly string[];
  /** Of the policy that governs the app, where it is at hand. */
  readonly policyHistory?: readonly HistoryEntry[] | undefined;
}

const REQUIRED = [...EVIDENCE_REQUIRED, "report-data", "tcb", "compose-hash"];

/** Judges all that was fetched of an app. */
export async function judgeApp(subject: AppSubject, options: JudgeAppOptions): Promise<VerifyResult> {
  const { context, expected, local, fresh, accept } = options;
  const environment = environmentOf(context);
  // Without a bound key the peer may be anybody who relays; only this machine's own gateway is known to be outside.
  const required = local ? REQUIRED : [...REQUIRED, "tls-key"];
  const parts = { kind: "app", what: subject.url, environment, required } as const;
  const evidence = read(subject);
  if (typeof evidence === "string")
    return concludeResult(
      { ...parts, checks: [{ name: "evidence", ...fail(evidence) }], sections: [], identity: NO_IDENTITY },
      accept,
    );
  const judged = await judgeEvidence(evidence, context, evidenceReportData(parseHex(subject.nonce)));
  const checks: Check[] = [...judged.checks, { name: "freshness", ...fresh }];
  const { attestation, osImage } = judged;
  if (!attestation.ok || osImage === undefined)
    return concludeResult({ ...parts, checks, sections: [], identity: NO_IDENTITY }, accept);
  const { appInfo, quote } = attestation;
  const manifest = subject.evidence.app_compose;
  const composeHash = checkComposeHash(manifest, appInfo);
  const kms = ownKmsMeta(subject.kms, appInfo, context.now);
  const tlsKey = await judgeTlsKey({
    certificates: subject.certificates,
    app: appInfo,
    kmsRootPem: expected.kmsRootPem ?? kms?.ca_cert,
    acmeInfo: subject.acme_info,
    gatewayAppId: expected.gatewayAppId ?? plainHex(kms?.gateway_app_id),
    context,
  });
  checks.push(
    { name: "compose-hash", ...composeHash },
    { name: "app-id", ...checkAppId(new URL(subject.url), appInfo) },
    ...expectations(expected, appInfo),
    { name: "kms-identity", ...checkKms(expected.kmsRootPem, appInfo) },
    {
      name: "kms-evidence",
      ...(local ? notApplicable("KMS outside a TEE") : notBound("not part of this; see dstack verify kms")),
    },
    { name: "tls-key", ...tlsKey },
  );
  const [leaf] = subject.certificates;
  const sections =
    composeHash.result === "pass"
      ? await appFacts({
          manifest,
          app: appInfo,
          osImage,
          platform: quote,
          kmsMeta: kms,
          tlsKey: leaf === undefined ? undefined : publicKeyInfoOf(leaf),
          policyHistory: options.policyHistory,
        })
      : [];
  return concludeResult({ ...parts, checks, sections, identity: identityOf(judged) }, accept);
}

/** Values that people copy from other tools, and those of a KMS, carry a 0x at times. */
export const plainHex = (text: string | null | undefined): string | undefined =>
  text === undefined || text === null || text === "" ? undefined : text.toLowerCase().replace(/^0x/, "");

function read(subject: AppSubject): Evidence | string {
  try {
    return evidenceFromJson(subject.evidence);
  } catch (error) {
    const reason = evidenceRefusal(error);
    if (reason === undefined) throw error;
    return reason;
  }
}

function checkComposeHash(manifest: string, info: AppInfo): Outcome {
  const hash = new Uint8Array(createHash("sha256").update(utf8(manifest)).digest());
  return equalBytes(hash, info.composeHash)
    ? pass(`${toHex(info.composeHash)} is measured and is that of the manifest shown`)
    : fail(`the manifest shown has hash ${toHex(hash)}, measured is ${toHex(info.composeHash)}`);
}

/** An app id in the URL must be the measured one; an instance id must be the measured instance. */
function checkAppId(url: URL, info: AppInfo): Outcome {
  const id = url.hostname.split(".")[0]?.split("-")[0]?.toLowerCase() ?? "";
  if (id === toHex(info.appId)) return pass(`${id} is measured and is the one asked for`);
  if (info.instanceId.length > 0 && id === toHex(info.instanceId))
    return pass(`instance ${id} of app ${toHex(info.appId)}`);
  if (!/^[0-9a-f]{40}$/.test(id))
    return notBound(`measured is ${toHex(info.appId)}; the URL names no app id to compare`);
  return fail(`asked for ${id}, measured is app ${toHex(info.appId)}`);
}

/** What the caller demands by value. */
export function expectations(
  { appId, composeHash, osImageHash }: Omit<AppExpectations, "kmsRootPem">,
  info: AppInfo,
): Check[] {
  const values = [
    ["expected-app-id", appId, info.appId],
    ["expected-compose-hash", composeHash, info.composeHash],
    ["expected-os-image", osImageHash, info.osImageHash],
  ] as const;
  return values.flatMap(([name, want, got]) => {
    if (want === undefined) return [];
    return [
      { name, ...(want === toHex(got) ? pass("as expected") : fail(`expected ${want}, measured is ${toHex(got)}`)) },
    ];
  });
}

/** Evidence says which app it is of; that this is the right one, only its user can say. */
export function identityOutcome({ appId, composeHash }: Omit<AppExpectations, "kmsRootPem">, info: AppInfo): Outcome {
  return appId === undefined && composeHash === undefined
    ? notBound(`${describeApp(info)}; say with --app-id or --compose-hash which one it must be`)
    : pass(describeApp(info));
}

/** The key-provider event names the KMS by the public key of its root CA. */
function checkKms(rootPem: string | undefined, info: AppInfo): Outcome {
  const provider = keyProviderOf(info);
  if (provider?.name !== "kms")
    return notApplicable(`keys come from: ${provider?.name ?? "no provider that is known"}`);
  if (rootPem === undefined)
    return notBound(
      `key provider ${provider.id.slice(0, 16)}…; give the KMS's root CA certificate with --kms-ca to compare`,
    );
  const spki = toHex(publicKeyInfoOf(rootPem));
  return provider.id === spki
    ? pass("the key-provider event names this KMS's root CA key")
    : fail(`the key-provider event names the KMS with root CA key ${provider.id}, expected ${spki}`);
}
