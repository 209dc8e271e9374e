import { equalBytes, toHex } from "@dstack/bytes";
import { fail, notBound, parseCertificate, pass, type AppInfo, type Outcome } from "@dstack/attest";
import { judgeChecks } from "@dstack/verify";
import {
  expectedReportData,
  parseCertificates,
  readDstackExtensions,
  verifyCertificateChain,
  type DstackExtensions,
} from "@dstack/ratls";
import { certificateRefusal, derOf, publicKeyInfoOf } from "./certificates.ts";
import { judgeEvidence, requiredOf, type VerifyContext } from "./context.ts";
import { describeApp, judgeCertificateKey, listedKey } from "./gateway-keys.ts";
import type { AcmeInfo } from "./subject.ts";

export interface TlsKeyInput {
  /** PEM, leaf first: what the server showed. */
  readonly certificates: readonly string[];
  /** The app whose evidence was verified. */
  readonly app: AppInfo;
  /** Root CA of the KMS that the app's keys are from, where known. */
  readonly kmsRootPem: string | undefined;
  readonly acmeInfo: AcmeInfo | undefined;
  /** Hex: the only app whose quote counts for a gateway's key. Any app can get a quote over any key. */
  readonly gatewayAppId: string | undefined;
  readonly context: VerifyContext;
}

/**
 * Whether the key at the other end of the TLS connection is held by the app that was verified, or by a
 * gateway that is itself verified: else whoever ends TLS in between could read everything, and relay
 * evidence of the real app (CVE-2026-33697).
 */
export async function judgeTlsKey(input: TlsKeyInput): Promise<Outcome> {
  const [leafPem] = input.certificates;
  if (leafPem === undefined) return fail("the server showed no certificate");
  let leaf: DstackExtensions;
  try {
    leaf = readDstackExtensions(derOf(leafPem));
  } catch (error) {
    // Certificates of the public web have forms that ours never have: then only the gateway's list can name the key.
    if (certificateRefusal(error) === undefined) throw error;
    return judgeByGateway(publicKeyInfoOf(leafPem), input);
  }
  if (leaf.attestation !== undefined) return judgeOwnEvidence(leaf, input);
  return (await judgeByKms(leaf, input)) ?? judgeByGateway(leaf.certificate.publicKeyInfo, input);
}

async function judgeOwnEvidence(leaf: DstackExtensions, { app, context }: TlsKeyInput): Promise<Outcome> {
  const attestation = leaf.attestation!;
  const { checks, attestation: verified } = await judgeEvidence(
    { attestation, vmConfig: attestation.config },
    context,
    expectedReportData(leaf),
  );
  const verdict = judgeChecks(checks, requiredOf(context));
  if (verdict.kind === "incomplete")
    return notBound(`the evidence in the server's certificate cannot be judged: ${verdict.reason}`);
  if (verdict.kind !== "verified" || !verified.ok)
    return fail(
      `the evidence in the server's certificate does not hold: ${verdict.kind === "verified" ? "not verified" : verdict.reason}`,
    );
  return sameApp(verified.appInfo.appId, app, "the key is bound by the evidence in its certificate");
}

/** A certificate that the app's own KMS issued to it. Undefined where the chain does not lead there. */
async function judgeByKms(
  leaf: DstackExtensions,
  { certificates, app, kmsRootPem, context }: TlsKeyInput,
): Promise<Outcome | undefined> {
  if (kmsRootPem === undefined || leaf.appId === undefined) return undefined;
  try {
    const chain = certificates.map((pem) => parseCertificate(derOf(pem)));
    verifyCertificateChain({ chain, roots: parseCertificates(kmsRootPem), now: context.now });
  } catch (error) {
    if (certificateRefusal(error) === undefined) throw error;
    return undefined;
  }
  return sameApp(leaf.appId, app, "the certificate was issued to the app by its KMS");
}

async function judgeByGateway(
  publicKey: Uint8Array,
  { acmeInfo, gatewayAppId, context }: TlsKeyInput,
): Promise<Outcome> {
  const name = `key ${toHex(publicKey).slice(-32)}`;
  if (acmeInfo === undefined)
    return notBound(`${name} carries no evidence, and no gateway lists it: whoever holds it can read the traffic`);
  const entry = listedKey(acmeInfo, publicKey);
  if (entry === undefined) {
    const quoted = acmeInfo.quoted_hist_keys.some(({ quote }) => quote !== "");
    const text = `${name} is not among the ${acmeInfo.quoted_hist_keys.length} that the gateway lists`;
    return quoted ? fail(`${text}: somebody else ends TLS here`) : notBound(`${text}; it proves none of them`);
  }
  const judged = await judgeCertificateKey(publicKey, entry.quote, context);
  switch (judged.kind) {
    case "verified":
      return gatewayOutcome(judged.appInfo, gatewayAppId);
    case "unquoted":
      return notBound(`${name} is the gateway's, which gives no quote for it: it may run outside a TEE`);
    case "undecided":
      return notBound(`the gateway's quote for its key cannot be judged: ${judged.reason}`);
    case "refused":
      return fail(`the gateway's quote for its key does not hold: ${judged.reason}`);
  }
}

function gatewayOutcome(gateway: AppInfo, expected: string | undefined): Outcome {
  const held = `the key is held by ${describeApp(gateway)}`;
  if (expected === undefined)
    return notBound(
      `${held}, but nothing says that this app is the gateway; name it with --gateway-app-id, or the app's KMS with --kms`,
    );
  return toHex(gateway.appId) === expected
    ? pass(`${held}, which is the gateway`)
    : fail(`${held}, but the gateway is app ${expected}`);
}

function sameApp(appId: Uint8Array, app: AppInfo, how: string): Outcome {
  return equalBytes(appId, app.appId)
    ? pass(`${how}: app ${toHex(appId)}`)
    : fail(`${how}, but that is app ${toHex(appId)}, not ${toHex(app.appId)}`);
}
