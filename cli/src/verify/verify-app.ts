import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { equalBytes, toHex, utf8, utf8Decode } from "@dstack/bytes";
import { fail, intelTrustAnchor, notApplicable, notBound, pass, trustAnchorFromPem, type AppInfo, type Check, type Outcome } from "@dstack/attest";
import { CollateralFetcher, verifyAttestation } from "@dstack/attest/node";
import { readTextIfExists } from "@dstack/files";
import type { StackLayout } from "../stack/layout.ts";
import { collateralCacheFolder, collateralPinFolder } from "./collateral-folders.ts";
import { fetchEvidence, type Evidence } from "./evidence.ts";
import { imageChecks } from "./image-checks.ts";

export interface VerifyOptions {
  readonly url: string;
  readonly now: Date;
  /** PEM of the root that quotes must chain to; the local deployment's own, else Intel's. */
  readonly root?: string | undefined;
  readonly caFile?: string | undefined;
  readonly kmsCaFile?: string | undefined;
  readonly pccsUrl?: string | undefined;
  readonly imageDir?: string | undefined;
}

export interface VerifyResult {
  readonly ok: boolean;
  readonly what: string;
  readonly environment: "development" | "production";
  readonly checks: readonly Check[];
  readonly appId: string | undefined;
  readonly composeHash: string | undefined;
  readonly tcbStatus: string | undefined;
}

const AGENT_PORT = 8090;
const INTEL_PCCS = "https://api.trustedservices.intel.com";

/**
 * Fetches fresh evidence of an app and checks all of it: root of trust, TCB, firmware, kernel,
 * image, compose hash, app id, KMS, TLS key.
 * @throws CliError when there is no evidence to judge
 */
export async function verifyApp(layout: StackLayout, env: NodeJS.ProcessEnv, options: VerifyOptions): Promise<VerifyResult> {
  const appUrl = new URL(options.url);
  const local = appUrl.hostname.endsWith(".dstack.localhost");
  const rootFile = options.root ?? (local ? layout.teeRoot : undefined);
  const caFile = options.caFile ?? (local ? `${layout.caFolder}/ca.crt` : undefined);
  const kmsCaFile = options.kmsCaFile ?? (local ? layout.kmsRootCa : undefined);
  const pccsUrl = options.pccsUrl ?? env["PCCS_URL"] ?? (local ? `http://127.0.0.1:${layout.ports.pccs}` : INTEL_PCCS);
  const evidence = await fetchEvidence({ appUrl, caFile, nonce: randomBytes(32), agentPort: AGENT_PORT, timeoutMs: 60_000 });
  const trustAnchor = rootFile === undefined ? intelTrustAnchor() : trustAnchorFromPem(await readFile(rootFile, "utf8"));
  const verification = await verifyAttestation(evidence.attestation, {
    collateralSource: new CollateralFetcher({ endpoints: [pccsUrl], trustAnchor, cacheFolder: collateralCacheFolder(env), pinFolder: collateralPinFolder(env) }),
    now: Math.floor(options.now.getTime() / 1000),
    trustAnchor,
    expectedReportData: evidence.expectedReportData,
    vmConfig: evidence.vmConfig,
  });
  const checks: Check[] = [{ name: "root-of-trust", ...(rootFile === undefined ? pass("Intel SGX Root CA") : notBound(`${rootFile}: a development root, which anybody with its seed can sign for`)) }, ...verification.checks];
  if (verification.ok) {
    const { appInfo, report, quote } = verification;
    checks.push({ name: "tcb", ...pass(`${quote.status}${quote.advisoryIds.length === 0 ? "" : `, advisories ${quote.advisoryIds.join(" ")}`}`) });
    checks.push(...(await imageChecks({ report, eventLog: evidence.attestation.platform.eventLog, vmConfig: evidence.vmConfig, images: layout.images, imageDir: options.imageDir })));
    checks.push(
      { name: "compose-hash", ...checkComposeHash(evidence, appInfo) },
      { name: "app-id", ...checkAppId(appUrl, appInfo) },
      { name: "kms-identity", ...(await checkKms(kmsCaFile, appInfo)) },
      { name: "kms-evidence", ...(local ? notApplicable("KMS outside a TEE") : notBound("the KMS's own evidence was not asked for")) },
    );
  }
  checks.push({ name: "tls-key", ...checkTlsKey(evidence, local) });
  return {
    ok: verification.ok && checks.every(({ result }) => result !== "fail"),
    what: options.url,
    environment: rootFile === undefined ? "production" : "development",
    checks,
    appId: verification.ok ? toHex(verification.appInfo.appId) : undefined,
    composeHash: verification.ok ? toHex(verification.appInfo.composeHash) : undefined,
    tcbStatus: verification.ok ? verification.quote.status : undefined,
  };
}

function checkComposeHash({ appCompose }: Evidence, info: AppInfo): Outcome {
  const hash = new Uint8Array(createHash("sha256").update(utf8(appCompose)).digest());
  return equalBytes(hash, info.composeHash) ? pass(`${toHex(info.composeHash)} is measured and is that of the manifest shown`) : fail(`the manifest shown has hash ${toHex(hash)}, measured is ${toHex(info.composeHash)}`);
}

/** An app id in the URL must be the measured one; an instance id must be the measured instance. */
function checkAppId(url: URL, info: AppInfo): Outcome {
  const id = url.hostname.split(".")[0]?.split("-")[0]?.toLowerCase() ?? "";
  if (id === toHex(info.appId)) return pass(`${id} is measured and is the one asked for`);
  if (info.instanceId.length > 0 && id === toHex(info.instanceId)) return pass(`instance ${id} of app ${toHex(info.appId)}`);
  if (!/^[0-9a-f]{40}$/.test(id)) return notBound(`measured is ${toHex(info.appId)}; the URL names no app id to compare`);
  return fail(`asked for ${id}, measured is app ${toHex(info.appId)}`);
}

/** The key-provider event names the KMS by the public key of its root CA. */
async function checkKms(kmsCaFile: string | undefined, info: AppInfo): Promise<Outcome> {
  const provider = JSON.parse(utf8Decode(info.keyProviderInfo) || "{}") as { name?: unknown; id?: unknown };
  if (provider.name !== "kms") return notApplicable(`keys come from: ${String(provider.name ?? "nothing yet")}`);
  const pem = kmsCaFile === undefined ? undefined : await readTextIfExists(kmsCaFile);
  if (pem === undefined) return notBound(`key provider ${String(provider.id).slice(0, 16)}…; give the KMS's root CA certificate with --kms-ca to compare`);
  const spki = toHex(new Uint8Array(new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" })));
  return provider.id === spki ? pass("the key-provider event names this KMS's root CA key") : fail("the key-provider event names another KMS");
}

function checkTlsKey({ transport }: Evidence, local: boolean): Outcome {
  const fingerprint = createHash("sha256").update(transport.certificate).digest("hex");
  return local
    ? notBound(`the gateway ends TLS and runs outside a TEE here; certificate ${fingerprint.slice(0, 16)}… is from the development CA`)
    : notBound(`certificate ${fingerprint.slice(0, 16)}… is the gateway's; the app's own key is seen in passthrough mode only`);
}
