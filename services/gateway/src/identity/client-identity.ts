/**
 * Who calls the RPC listener.
 * In: the certificates of a TLS client, leaf first. Out: app id, instance id and compose hash.
 * The chain must lead to a configured root; identity is the app info in the leaf, else its verified evidence.
 * The judgement is this room's and not the TLS library's, so that the refusal can say why.
 * Never: an identity from the request; a chain that a resumed session did not show.
 */
import { equalBytes, toHex, type ReportData } from "@dstack/bytes";
import { parseCertificate, type AppInfo, type AppInfoRecord, type Attestation, type Certificate } from "@dstack/attest";
import { readOid, readChildren, readDer } from "@dstack/der";
import {
  expectedReportData,
  readDstackExtensions,
  USAGE,
  verifyCertificateChain,
  type DstackExtensions,
} from "@dstack/ratls";
import { GatewayError } from "../errors.ts";

/** Who calls, in lower-case hex as the registry keeps it. */
export interface ClientIdentity {
  readonly appId: string;
  readonly instanceId: string;
  readonly composeHash: string;
}

/** Verifies evidence against the report data that binds it to a key, and gives what it says; throws when it does not hold. */
export type EvidenceVerifier = (
  attestation: Attestation,
  expected: ReportData,
) => Promise<Pick<AppInfo, "appId" | "instanceId" | "composeHash">>;

export interface IdentityOptions {
  /** The KMS's root CA and others of `tls.mutual.ca_certs`. */
  readonly roots: readonly Certificate[];
  /** Unix seconds. */
  readonly now: number;
  /** Absent: a certificate with evidence is refused, for nobody can say whether it holds. */
  readonly verifyEvidence: EvidenceVerifier | undefined;
}

const EXTENDED_KEY_USAGE = "2.5.29.37";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const ID_BYTES = 20;

/**
 * The app behind a client certificate: chain to a configured root, client usage, then app info
 * from its extension or from its verified evidence.
 * @throws GatewayError `identity-missing`, `identity-invalid`
 */
export async function identifyClient(chain: readonly Uint8Array[], options: IdentityOptions): Promise<ClientIdentity> {
  const extensions = verifiedLeaf(chain, options);
  const claimed =
    extensions.attestation === undefined
      ? undefined
      : await evidenceOf(extensions, extensions.attestation, options.verifyEvidence);
  const info = extensions.appInfo ?? claimed;
  if (info === undefined) throw new GatewayError("identity-missing", "neither app-info nor attestation provided");
  if (extensions.appId !== undefined && !equalBytes(extensions.appId, info.appId)) {
    throw new GatewayError(
      "identity-invalid",
      `client certificate names app ${toHex(extensions.appId)} and app info of ${toHex(info.appId)}`,
    );
  }
  return identityOf(info);
}

/**
 * Whether the caller's certificate is one of the given app, as peers of a gateway must be.
 * @throws GatewayError `identity-missing`, `identity-invalid`
 */
export function requireApp(
  chain: readonly Uint8Array[],
  appId: Uint8Array | undefined,
  options: Pick<IdentityOptions, "roots" | "now">,
): void {
  if (chain.length === 0) throw new GatewayError("identity-missing", "Client authentication is required");
  const extensions = verifiedLeaf(chain, options);
  if (appId === undefined || extensions.appId === undefined || !equalBytes(extensions.appId, appId)) {
    throw new GatewayError("identity-invalid", "Remote app id is not from dstack-gateway", {
      cause: new Error(
        `its certificate names ${extensions.appId === undefined ? "no app" : `app ${toHex(extensions.appId)}`}, expected ${appId === undefined ? "that of this gateway, which has none" : toHex(appId)}`,
      ),
    });
  }
}

function verifiedLeaf(chain: readonly Uint8Array[], options: Pick<IdentityOptions, "roots" | "now">): DstackExtensions {
  const [leaf] = chain;
  if (leaf === undefined)
    throw new GatewayError(
      "identity-missing",
      "client certificate required: neither app-info nor attestation provided",
    );
  try {
    verifyCertificateChain({
      chain: chain.map((der) => parseCertificate(der)),
      roots: options.roots,
      now: options.now,
    });
    const extensions = readDstackExtensions(leaf);
    checkUsage(extensions);
    return extensions;
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause;
    throw new GatewayError("identity-invalid", "client certificate is not one that the KMS issued to an app", {
      cause,
    });
  }
}

function checkUsage(extensions: DstackExtensions): void {
  if (extensions.usage !== undefined && extensions.usage !== USAGE.appCustom) {
    throw new GatewayError(
      "identity-invalid",
      `client certificate's usage is ${extensions.usage}, expected ${USAGE.appCustom}`,
    );
  }
  const purposes = extensions.certificate.extensions.get(EXTENDED_KEY_USAGE);
  if (purposes === undefined) return;
  const oids = readChildren(readDer(purposes.value, "extended key usage"), "extended key usage").map((element) =>
    readOid(element, "extended key usage"),
  );
  if (!oids.includes(CLIENT_AUTH))
    throw new GatewayError(
      "identity-invalid",
      `client certificate is not for client authentication: its extended key usage is ${oids.slice(0, 4).join(", ")}, expected ${CLIENT_AUTH}`,
    );
}

async function evidenceOf(
  extensions: DstackExtensions,
  attestation: Attestation,
  verify: EvidenceVerifier | undefined,
): Promise<Pick<AppInfo, "appId" | "instanceId" | "composeHash">> {
  try {
    if (verify === undefined)
      throw new GatewayError(
        "identity-invalid",
        "this gateway has no collateral service (core.attestation.urls.pccs) to verify evidence with",
      );
    return await verify(attestation, expectedReportData(extensions));
  } catch (cause) {
    throw new GatewayError("identity-invalid", "invalid quote", { cause });
  }
}

function identityOf(info: Pick<AppInfoRecord, "appId" | "instanceId" | "composeHash">): ClientIdentity {
  for (const [name, bytes] of [
    ["app id", info.appId],
    ["instance id", info.instanceId],
  ] as const) {
    // An empty one is refused by the registry with the text that CVMs know.
    if (bytes.length !== 0 && bytes.length !== ID_BYTES)
      throw new GatewayError(
        "identity-invalid",
        `${name} in the client certificate: expected ${ID_BYTES} bytes, got ${bytes.length}`,
      );
  }
  if (info.composeHash.length > 64)
    throw new GatewayError(
      "identity-invalid",
      `compose hash in the client certificate has ${info.composeHash.length} bytes`,
    );
  return { appId: toHex(info.appId), instanceId: toHex(info.instanceId), composeHash: toHex(info.composeHash) };
}
