/**
 * The ways to root keys that a person starts: bootstrap, and onboarding from another KMS.
 * In: calls of the set-up listener. Out: a key folder with its keys, and what the new roots' evidence says.
 * The other KMS is held to the identity that was verified and authorized, also over its second connection.
 * The auth server is asked about this very KMS before anything is made or fetched.
 * Never: keys that replace others; keys from a KMS that our own auth server does not allow.
 */
import type { AuditLog } from "@dstack/audit-log";
import { appInfo } from "@dstack/attest";
import { toHex } from "@dstack/bytes";
import { asRefusal, excerpt } from "@dstack/errors";
import { secp256k1PublicKey } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import { kms } from "@dstack/proto";
import { route, RpcError, type JsonObject, type RpcCall, type RpcService } from "@dstack/rpc";
import type { ImageCaches } from "../image/clear-image-cache.ts";
import { attestRoots, bootstrap, type Attest } from "../keys/bootstrap.ts";
import { checkDomain } from "../keys/domain.ts";
import { installRootKeys, requireNoKeys } from "../keys/install-root-keys.ts";
import { recordInstall } from "../keys/record-install.ts";
import { KmsError } from "../errors.ts";
import { denialText, type AuthApi } from "../release/auth-api.ts";
import type { EvidenceRule } from "../release/caller.ts";
import type { SelfAttestation } from "../self/self-attestation.ts";
import type { SelfAuthorization } from "../self/self-authorization.ts";
import { withLegacyEvidence } from "./legacy-evidence.ts";
import { fetchRootKeys } from "./fetch-root-keys.ts";

export interface OnboardServiceOptions {
  readonly folder: string;
  /** Title of the set-up page; may be empty. */
  readonly siteName: string;
  readonly self: SelfAttestation;
  /** Whether new roots are attested: false outside a TEE. */
  readonly attestRoots: boolean;
  readonly selfAuthorization: SelfAuthorization;
  readonly evidence: EvidenceRule;
  readonly audit: Pick<AuditLog, "append">;
  readonly auth: AuthApi;
  readonly caches: ImageCaches;
  /** mrAggregated of sources whose certificates may name no OS image. */
  readonly legacySources: readonly string[];
  readonly clock: { now(): number };
  readonly log: Logger;
  /** Ends the set-up, once the answer is out. @throws KmsError where there are no keys yet */
  readonly finish: () => Promise<void>;
}

/** The service of the set-up listener, which says who may call it. */
export function onboardService(options: OnboardServiceOptions): RpcService<undefined, "set-up"> {
  const { folder, self, auth, audit, clock, log } = options;
  const methods = kms.Onboard.method;
  const rule = "set-up";
  const now = (): number => Math.floor(clock.now() / 1000);
  const origin = ({ requestId, remoteAddress }: RpcCall) => ({ requestId, remoteAddress });
  const attest: Attest = options.attestRoots ? (reportData) => self.attest(reportData) : undefined;
  return {
    prefixes: ["Onboard."],
    authenticate: () => Promise.resolve(undefined),
    log,
    routes: [
      route(methods.bootstrap, {
        auth: rule,
        handle: async (request, _caller, call) => {
          const made = await refusable("Failed to bootstrap", async () => {
            const domain = checkDomain(request.domain);
            await requireNoKeys(folder, "KMS has already been bootstrapped");
            await requireSelfAllowed(options.selfAuthorization, "KMS is not allowed to bootstrap");
            const record = recordInstall(audit, { action: "bootstrap", outcome: "bootstrapped", ...origin(call) });
            return bootstrap({ folder, domain, now: now(), attest, record });
          });
          log.info(
            { folder, caPubkey: toHex(made.caPubkey), k256Pubkey: toHex(made.k256Pubkey) },
            "bootstrapped: new root keys",
          );
          return made;
        },
        extendJson: withLegacyEvidence,
      }),
      route(methods.onboard, {
        auth: rule,
        handle: async (request, _caller, call) => {
          const roots = await refusable("Failed to onboard", async () => {
            const domain = checkDomain(request.domain);
            await requireNoKeys(folder, "KMS has already been onboarded");
            const fetched = await fetchRootKeys({
              sourceUrl: request.sourceUrl,
              self,
              evidence: options.evidence,
              auth,
              images: options.caches.verifier,
              legacySources: options.legacySources,
              now: now(),
              signal: call.signal,
            });
            await installRootKeys({
              folder,
              roots: fetched,
              domain,
              now: now(),
              evidence: await attestRoots(fetched, attest),
              record: recordInstall(audit, {
                action: "onboard",
                outcome: "onboarded",
                ...origin(call),
                source: excerpt(request.sourceUrl, { maxChars: 256 }),
              }),
            });
            return fetched;
          });
          const k256Pubkey = secp256k1PublicKey(roots.rootK256);
          log.info({ folder, k256Pubkey: toHex(k256Pubkey) }, "onboarded: root keys taken over from another KMS");
          return { k256Pubkey };
        },
      }),
      route(methods.getAttestationInfo, {
        auth: rule,
        handle: () =>
          refusable("Failed to get attestation info", async () => {
            const { attestation, info, verified } = await self.bootInfo();
            // What the guest agent knows of the VM, where the evidence names no image.
            const { osImageHash } =
              info.osImageHash.length > 0
                ? info
                : appInfo({ attestation, verified: verified.quote, vmConfig: await self.vmConfig() });
            const chain = await auth.info().catch((error: unknown) => {
              // The page works without them: it shows what is known.
              if (error instanceof KmsError) return undefined;
              throw error;
            });
            return {
              deviceId: info.deviceId,
              mrAggregated: info.mrAggregated,
              osImageHash,
              ppid: verified.quote.ppid,
              teeVariant: "dstack-tdx",
              siteName: options.siteName,
              ethRpcUrl: chain?.ethRpcUrl ?? "",
              kmsContractAddress: chain?.kmsContractAddr ?? "",
            };
          }),
        extendJson: (json): JsonObject => ({ ...json, attestation_mode: json["tee_variant"] }),
      }),
      route(methods.finish, {
        auth: rule,
        handle: async () => {
          await refusable("Failed to finish", options.finish);
          return {};
        },
      }),
    ],
  };
}

/**
 * For whoever makes new roots: the auth server must want this very KMS.
 * @throws KmsError `self-unauthorized`, `auth-unreachable`, `auth-answer-invalid`, `agent-unavailable`, `self-evidence-invalid`
 */
export async function requireSelfAllowed(selfAuthorization: SelfAuthorization, context: string): Promise<void> {
  const decision = await asRefusal(
    () => selfAuthorization.ask(),
    (cause) => (cause instanceof KmsError ? new KmsError(cause.code, context, { cause }) : undefined),
  );
  if (decision.kind === "denied")
    throw new KmsError("self-unauthorized", `${context}: boot denied: ${denialText(decision)}`);
}

/** Clients match some of these texts from their beginning: those of our own checks stay as they are. */
function refusable<T>(context: string, run: () => Promise<T>): Promise<T> {
  return asRefusal(run, (cause) =>
    cause instanceof KmsError && OWN_TEXTS.has(cause.code)
      ? new RpcError("bad-request", cause.message, cause.cause === undefined ? {} : { cause: cause.cause })
      : new RpcError("handler-failed", context, { cause }),
  );
}

const OWN_TEXTS: ReadonlySet<string> = new Set([
  "config-invalid",
  "already-bootstrapped",
  "not-bootstrapped",
  "self-unauthorized",
]);
