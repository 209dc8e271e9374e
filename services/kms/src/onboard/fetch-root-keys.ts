import { equalBytes, type ReportData } from "@dstack/bytes";
import { appInfo, type Attestation } from "@dstack/attest";
import { generateP256, p256FromPem, pkcs8Pem, secp256k1PublicKey, spkiDer } from "@dstack/keys";
import { kms } from "@dstack/proto";
import {
  attestedTransport,
  createTempClientCertificate,
  loadCa,
  parseCertificates,
  RatlsError,
  type EvidenceForm,
} from "@dstack/ratls";
import { callRpc } from "@dstack/rpc";
import { asRefusal, isCoded } from "@dstack/errors";
import { KmsError } from "../errors.ts";
import type { OsImageVerifier } from "../image/os-image-verifier.ts";
import type { RootKeys } from "../keys/install-root-keys.ts";
import { denialText, type AuthApi } from "../release/auth-api.ts";
import { bootInfoJson, type VerifiedEvidence } from "../release/boot-info.ts";
import { verifyEvidence, type EvidenceRule } from "../release/caller.ts";
import type { SelfAttestation } from "../self/self-attestation.ts";
import { requireListedSource } from "./legacy-source.ts";

export interface FetchOptions {
  /** The source KMS, e.g. `https://kms.example:9201`, with or without `/prpc`. */
  readonly sourceUrl: string;
  readonly self: SelfAttestation;
  readonly evidence: EvidenceRule;
  readonly auth: AuthApi;
  readonly images: OsImageVerifier;
  /** mrAggregated of sources whose certificates may name no OS image, lower-case hex. */
  readonly legacySources: readonly string[];
  /** Unix seconds. */
  readonly now: number;
  readonly signal: AbortSignal;
}

/** What the source's TLS key is bound to, and its evidence. */
interface Source {
  readonly attestation: Attestation;
  readonly verified: VerifiedEvidence;
  /** Names the key: evidence for another key has another value. */
  readonly boundTo: ReportData;
  readonly form: EvidenceForm;
}

const TIMEOUT_MS = 60_000;
const MAX_ANSWER_BYTES = 1024 * 1024;

/**
 * Takes the root keys over from another KMS. The source must show evidence for its TLS key and the
 * role of a KMS, our auth server must allow it, and the keys come over a connection to that very
 * key, on which the source verified and authorized us in turn (DS #1237).
 * @throws KmsError `source-refused`, `auth-unreachable`, `auth-answer-invalid`, `agent-unavailable`; RatlsError, RpcError
 */
export async function fetchRootKeys(options: FetchOptions): Promise<RootKeys> {
  const { self, now, signal } = options;
  const methods = kms.KMS.method;
  const baseUrl = rpcUrl(options.sourceUrl);
  const call = { timeoutMs: TIMEOUT_MS, signal };

  let source: Source | undefined;
  const first = attestedTransport({
    baseUrl,
    trustedRoots: "evidence-only",
    peer: { kind: "kms" },
    maxAnswerBytes: MAX_ANSWER_BYTES,
    verifyEvidence: async (attestation, boundTo, form) => {
      source = { ...(await verifiedSource(options, attestation, boundTo)), form };
    },
  });
  const contact = await asRefusal(
    () => callRpc(first, methods.getTempCaCert, {}, call),
    (cause) =>
      speaksNoTls(cause)
        ? new KmsError("source-refused", `${new URL(baseUrl).host} speaks no TLS on that port: is its set-up finished?`)
        : undefined,
  );
  if (source === undefined) throw new KmsError("source-refused", "Source KMS certificate does not contain attestation");
  await requireAllowed(options, source);

  const key = generateP256();
  const certificate = createTempClientCertificate({
    tempCa: loadCa(contact.tempCaCert, contact.tempCaKey, "temp CA"),
    key,
    attestation: await self.attestKey(spkiDer(key)),
    now,
  });
  const { boundTo } = source;
  const second = attestedTransport({
    baseUrl,
    trustedRoots: "evidence-only",
    peer: { kind: "kms" },
    maxAnswerBytes: MAX_ANSWER_BYTES,
    identity: { certificatePem: certificate.pem, keyPem: pkcs8Pem(key) },
    // The key was verified and authorized a moment ago; what counts now is that it is the same one.
    verifyEvidence: async (_attestation, presented) => {
      if (!equalBytes(presented, boundTo))
        throw new RatlsError("peer-refused", "the source KMS presented another key than the one that was authorized");
    },
  });
  const answer = await callRpc(second, methods.getKmsKey, { vmConfig: await self.vmConfig() }, call);
  return readRootKeys(answer, contact.caCert);
}

function speaksNoTls(error: unknown): boolean {
  return isCoded(error, "no-tls") || (error instanceof Error && error.cause !== undefined && speaksNoTls(error.cause));
}

/** Never the whole: it may hold a password. */
const kindOfUrl = (url: string): string =>
  !URL.canParse(url)
    ? "no URL"
    : new URL(url).username === ""
      ? `one of ${new URL(url).protocol}`
      : "one with a user name";

/** @throws KmsError `source-refused` */
function rpcUrl(text: string): string {
  const url = text.trim().replace(/\/+$/, "");
  if (!URL.canParse(url) || new URL(url).protocol !== "https:" || new URL(url).username !== "") {
    throw new KmsError(
      "source-refused",
      `source_url: expected https://HOST:PORT of the source KMS, got ${kindOfUrl(url)}`,
    );
  }
  return url.endsWith("/prpc") ? url : `${url}/prpc`;
}

async function verifiedSource(
  { evidence, signal }: FetchOptions,
  attestation: Attestation,
  boundTo: ReportData,
): Promise<Omit<Source, "form">> {
  const verified = await verifyEvidence(evidence, attestation, boundTo, signal);
  if (!verified.ok)
    throw new KmsError("source-refused", `the evidence of the source KMS does not hold: ${verified.reason}`);
  return { attestation, verified, boundTo };
}

/** Our own side's word on the source: the image that it runs, and the auth server. */
async function requireAllowed(
  { auth, images, legacySources, self, signal }: FetchOptions,
  { attestation, verified, form }: Source,
): Promise<void> {
  const context = "Source KMS is not allowed for onboarding";
  const isLegacy = form === "quote-and-event-log";
  if (!isLegacy && attestation.config === "") {
    throw new KmsError(
      "source-refused",
      `${context}: its evidence names no VM configuration, which only certificates up to 0.5.8 may leave out`,
    );
  }
  // Those do not say which OS image: the auth server is told of ours, and the listed measurement stands for the comparison.
  const vmConfig = isLegacy ? await self.vmConfig() : attestation.config;
  const info = appInfo({ attestation, verified: verified.quote, vmConfig });
  if (isLegacy) {
    await asRefusal(
      () =>
        requireListedSource({
          report: verified.report,
          mrAggregated: info.mrAggregated,
          listed: legacySources,
          own: async () => (await self.bootInfo()).verified.report,
        }),
      (cause) => (cause instanceof KmsError ? new KmsError(cause.code, context, { cause }) : undefined),
    );
  }
  const decision = await auth.bootAuth("kms", bootInfoJson(verified, info), signal);
  if (decision.kind === "denied")
    throw new KmsError("source-refused", `${context}: boot denied: ${denialText(decision)}`);
  if (isLegacy) return;
  await asRefusal(
    () => images.verify(vmConfig, verified.report, attestation.platform.eventLog, signal),
    (cause) => new KmsError("source-refused", `${context}: Failed to verify os image hash`, { cause }),
  );
}

/** One set of keys, whole, and those that the source's certificates belong to. */
function readRootKeys(
  answer: {
    readonly tempCaKey: string;
    readonly keys: readonly { readonly caKey: string; readonly k256Key: Uint8Array }[];
  },
  caCertificatePem: string,
): RootKeys {
  const [keys, ...more] = answer.keys;
  if (keys === undefined || more.length > 0)
    throw new KmsError("source-refused", `Invalid keys: expected one set, got ${answer.keys.length}`);
  const roots = { rootCa: p256FromPem(keys.caKey), tempCa: p256FromPem(answer.tempCaKey), rootK256: keys.k256Key };
  secp256k1PublicKey(roots.rootK256);
  const [root] = parseCertificates(caCertificatePem);
  if (root === undefined || !equalBytes(root.publicKeyInfo, spkiDer(roots.rootCa))) {
    throw new KmsError(
      "source-refused",
      "Invalid keys: the root key does not belong to the root certificate that the source hands out",
    );
  }
  return roots;
}
