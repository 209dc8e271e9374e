import { toHex } from "@dstack/bytes";
import { parseCertificate, type AppInfo } from "@dstack/attest";
import { parseCertificates, readDstackExtensions, USAGE, verifyCertificateChain } from "@dstack/ratls";
import { certificateRefusal, derOf } from "./certificates.ts";
import { keyProviderOf } from "./key-provider.ts";
import type { KmsAnswer, KmsMeta } from "./subject.ts";

/**
 * What a KMS says, where it is the one that released this app's keys: its certificate is issued for KMS
 * listeners under the root CA whose key the app's evidence names. Any other KMS could say anything.
 * @param now Unix seconds
 */
export function ownKmsMeta(answer: KmsAnswer | undefined, app: AppInfo, now: number): KmsMeta | undefined {
  const provider = keyProviderOf(app);
  const [leaf] = answer?.certificates ?? [];
  if (answer === undefined || leaf === undefined || provider?.name !== "kms") return undefined;
  try {
    const roots = parseCertificates(answer.meta.ca_cert).filter(
      ({ publicKeyInfo }) => toHex(publicKeyInfo) === provider.id,
    );
    verifyCertificateChain({ chain: answer.certificates.map((pem) => parseCertificate(derOf(pem))), roots, now });
    return readDstackExtensions(derOf(leaf)).usage === USAGE.kmsRpc ? answer.meta : undefined;
  } catch (error) {
    if (certificateRefusal(error) === undefined) throw error;
    return undefined;
  }
}
