import { appInfo, encodeAppInfo, type AppInfo, type Attestation } from "@dstack/attest";
import type { AppId } from "@dstack/bytes";
import { appCaKey } from "@dstack/keys";
import { createAppCa, createLeaf, USAGE, type CsrConfig, type SigningCa } from "@dstack/ratls";
import type { VerifiedEvidence } from "./boot-info.ts";

export interface SignOptions {
  readonly rootCa: SigningCa;
  readonly config: CsrConfig;
  /** Uncompressed point of the requester's key. */
  readonly publicPoint: Uint8Array;
  readonly info: AppInfo;
  readonly attestation: Attestation;
  readonly verified: VerifiedEvidence;
  readonly vmConfig: string;
  readonly olderForm: boolean;
  /** Unix seconds. */
  readonly now: number;
}

/**
 * Chain of PEM texts: leaf, app CA, root CA. The identity in the leaf comes from the verified
 * evidence, never from what the request says of itself (DS #1255).
 */
export function signCertificate(options: SignOptions): [string, string, string] {
  const { rootCa, config, info, attestation, verified, vmConfig, now } = options;
  const appCa = appCaOf(rootCa, info.appId, now);
  const leaf = createLeaf({
    issuer: appCa,
    publicPoint: options.publicPoint,
    commonName: config.subject,
    altNames: config.altNames,
    serverAuth: config.serverAuth,
    clientAuth: config.clientAuth,
    usage: USAGE.appCustom,
    appId: info.appId,
    now,
    ...(config.organization === undefined ? {} : { organization: config.organization }),
    ...(config.notBefore === undefined ? {} : { notBefore: config.notBefore }),
    ...(config.notAfter === undefined ? {} : { notAfter: config.notAfter }),
    ...(config.withAppInfo
      ? { appInfo: encodeAppInfo(appInfo({ attestation, verified: verified.quote, vmConfig })) }
      : {}),
    ...(config.withEvidence ? { attestation, olderForm: options.olderForm } : {}),
  });
  return [leaf.pem, appCa.pem, rootCa.pem];
}

/** The CA of one app, made again for each request from its derived key. */
export const appCaOf = (root: SigningCa, appId: AppId, now: number): SigningCa =>
  createAppCa({ root, key: appCaKey(root.key.scalar, appId), appId, now });
