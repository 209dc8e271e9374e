import { equalBytes, hash32, type AppId, type Hash32 } from "@dstack/bytes";
import type { Tee } from "@dstack/agent";
import { reportDataFor } from "@dstack/attest";
import { appKeySigner, generateP256, secp256k1PublicKey, spkiDer, pkcs8Pem } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import { kms } from "@dstack/proto";
import {
  attestedTransport,
  createTempClientCertificate,
  fetchTempCaUnverified,
  parseCertificates,
  RatlsError,
  type EvidenceVerifier,
  type TempCa,
} from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { callRpc, RpcError } from "@dstack/rpc";
import type { ReceivedKeys } from "./app-keys.ts";
import { askPatiently } from "./ask-patiently.ts";
import { GuestError } from "../errors.ts";
import { rpcUrl } from "../host/system-config.ts";

export interface KmsKeysOptions {
  readonly urls: readonly string[];
  readonly appId: AppId;
  readonly vmConfig: string;
  readonly tee: Tee;
  /** The pinned KMS root key (SPKI DER); empty where the manifest pins none. */
  readonly pinnedProviderId: Uint8Array;
  /** First contact that was begun while the app was measured, by URL. */
  readonly firstContacts: ReadonlyMap<string, Promise<TempCa>>;
  /** Verifies the evidence of a KMS that shows some. */
  readonly verifyEvidence: EvidenceVerifier;
  readonly log: Logger;
  /** Told when the guest has to wait for a KMS. */
  readonly onWaiting: (why: string) => void;
  /** Unix seconds. */
  readonly now: () => number;
  /** How long to go on asking while no KMS answers; an hour unless given. */
  readonly patienceMs?: number;
}

const CALL_TIMEOUT_MS = 60_000;

/**
 * Asks the KMS servers in turn for the app's keys, again and again with growing pauses while none
 * can be reached. An answer that refuses is final: asking again would change nothing.
 * @throws GuestError `keys-refused`, `keys-invalid`, `keys-unavailable`
 */
export async function requestKmsKeys(options: KmsKeysOptions): Promise<ReceivedKeys> {
  if (options.urls.length === 0) throw new GuestError("keys-unavailable", "No KMS URLs are set");
  const { urls, log, onWaiting, patienceMs } = options;
  let firstContacts = options.firstContacts;
  return askPatiently(
    async () => {
      const failures: unknown[] = [];
      for (const url of urls) {
        try {
          return { ok: true, value: await requestFrom(url, options, firstContacts.get(url)) };
        } catch (error) {
          log.warn({ kms: url, error: errorChain(error) }, "no keys from this KMS");
          failures.push(error);
        }
      }
      const refusal = failures.find(isFinal);
      if (refusal !== undefined) throw refusalError(refusal);
      firstContacts = new Map();
      return { ok: false, error: failures[0] };
    },
    { whom: "KMS", onWaiting, ...(patienceMs === undefined ? {} : { patienceMs }) },
  );
}

/** Begins first contact, which needs no evidence, while the app is still being measured. */
export function beginFirstContacts(urls: readonly string[]): ReadonlyMap<string, Promise<TempCa>> {
  const url = urls[0];
  if (url === undefined) return new Map();
  const contact = fetchTempCaUnverified({ baseUrl: rpcUrl(url), timeoutMs: CALL_TIMEOUT_MS });
  contact.catch(() => undefined); // Whoever uses the promise sees the error.
  return new Map([[url, contact]]);
}

async function requestFrom(
  url: string,
  options: KmsKeysOptions,
  begun: Promise<TempCa> | undefined,
): Promise<ReceivedKeys> {
  const baseUrl = rpcUrl(url);
  const { tempCa, caCertificatePem } = await (begun ?? fetchTempCaUnverified({ baseUrl, timeoutMs: CALL_TIMEOUT_MS }));
  const publicKeyInfo = rootKeyOf(caCertificatePem);
  checkPin(publicKeyInfo, options.pinnedProviderId);
  const key = generateP256();
  const attestation = await options.tee.attest(reportDataFor("ratls-cert", spkiDer(key)), options.vmConfig);
  const certificate = createTempClientCertificate({ tempCa, key, attestation, now: options.now() });
  const transport = attestedTransport({
    baseUrl,
    trustedRoots: [caCertificatePem],
    peer: { kind: "kms" },
    identity: { certificatePem: certificate.pem, keyPem: pkcs8Pem(key) },
    verifyEvidence: options.verifyEvidence,
  });
  const answer = await callRpc(
    transport,
    kms.KMS.method.getAppKey,
    { apiVersion: 1, vmConfig: options.vmConfig },
    { timeoutMs: CALL_TIMEOUT_MS },
  );
  return {
    attestation,
    osImageHash: checkImageHash(answer.osImageHash),
    keys: {
      ...checkKeys(answer, options.appId),
      gatewayAppId: answer.gatewayAppId === "" ? answer.tproxyAppId : answer.gatewayAppId,
      caCertificatePem,
      provider: { kind: "kms", url: baseUrl, publicKeyInfo, tempCa },
    },
  };
}

/** The pin is checked before the KMS sees any evidence of ours. */
function checkPin(publicKeyInfo: Uint8Array, pinned: Uint8Array): void {
  if (pinned.length === 0 || equalBytes(pinned, publicKeyInfo)) return;
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  throw new GuestError("keys-refused", `Unexpected key provider id: ${hex(publicKeyInfo)}, expected: ${hex(pinned)}`);
}

function rootKeyOf(pem: string): Uint8Array {
  const [root, ...more] = parseCertificates(pem);
  if (root === undefined || more.length > 0)
    throw new GuestError(
      "keys-invalid",
      `KMS root CA: expected one certificate, got ${more.length + (root === undefined ? 0 : 1)}`,
    );
  return root.publicKeyInfo;
}

interface AppKeyAnswer {
  readonly diskCryptKey: Uint8Array;
  readonly envCryptKey: Uint8Array;
  readonly k256Key: Uint8Array;
  readonly k256Signature: Uint8Array;
}

/** Lengths, and that the signature names some root over exactly this app and key. */
function checkKeys(answer: AppKeyAnswer, appId: AppId): AppKeyAnswer {
  const { diskCryptKey, envCryptKey, k256Key, k256Signature } = answer;
  for (const [name, bytes, length] of [
    ["disk_crypt_key", diskCryptKey, 32],
    ["env_crypt_key", envCryptKey, 32],
    ["k256_key", k256Key, 32],
    ["k256_signature", k256Signature, 65],
  ] as const) {
    if (bytes.length !== length)
      throw new GuestError("keys-invalid", `KMS answer: ${name}: expected ${length} bytes, got ${bytes.length}`);
  }
  try {
    appKeySigner(appId, secp256k1PublicKey(k256Key), k256Signature);
  } catch (cause) {
    throw new GuestError("keys-invalid", "KMS answer: k256_signature is not a signature over this app's key", {
      cause,
    });
  }
  return { diskCryptKey, envCryptKey, k256Key, k256Signature };
}

function checkImageHash(bytes: Uint8Array): Hash32 | Uint8Array {
  if (bytes.length === 0) return bytes; // A KMS that verifies no image has none to name.
  try {
    return hash32(bytes, "os_image_hash");
  } catch (cause) {
    throw new GuestError("keys-invalid", "KMS answer: os_image_hash is not of 32 bytes", { cause });
  }
}

/** A refusal by the KMS, or by us of a KMS that is not what it should be. */
function isFinal(error: unknown): boolean {
  for (
    let current: unknown = error, depth = 0;
    current instanceof Error && depth < 16;
    current = current.cause, depth++
  ) {
    if (current instanceof GuestError) return current.code !== "keys-unavailable";
    if (current instanceof RatlsError) return true;
    if (current instanceof RpcError && current.code === "remote-error") return true;
  }
  return false;
}

function refusalError(cause: unknown): GuestError {
  return cause instanceof GuestError
    ? cause
    : new GuestError("keys-refused", "Failed to get app keys from KMS", { cause });
}
