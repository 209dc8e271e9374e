import { createHash, timingSafeEqual } from "node:crypto";
import { appId, parseHex, utf8 } from "@dstack/bytes";
import { reportDataFor } from "@dstack/attest";
import { pkcs8Pem } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { decodeCsr, verifyCsr } from "@dstack/ratls";
import { errorChain, excerpt } from "@dstack/errors";
import { route, RpcError, type JsonObject, type Route, type RpcCall, type RpcService } from "@dstack/rpc";
import { ownNameIn } from "./certificates/own-names.ts";
import { signCertificate } from "./release/sign-certificate.ts";
import type { KmsConfig } from "./config/kms-config.ts";
import { KMS_RULES, KmsError, type KmsRule } from "./errors.ts";
import { clearImageCache } from "./image/clear-image-cache.ts";
import type { OpenKms } from "./open-kms.ts";
import { withLegacyEvidence } from "./onboard/legacy-evidence.ts";
import { deriveAppKeys } from "./release/app-keys.ts";
import { envPublicKeys } from "./release/env-public-keys.ts";
import {
  callerReader,
  recordedReason,
  refusalOfQuote,
  verifyEvidence,
  type AttestedCaller,
  type Caller,
  type CallerRule,
} from "./release/caller.ts";
import { told } from "./release/told.ts";
import { withContext } from "./with-context.ts";

export type KmsServiceOptions = Pick<
  OpenKms,
  | "auth"
  | "evidence"
  | "caches"
  | "selfAuthorization"
  | "keys"
  | "gate"
  | "settingsAgainstHandOver"
  | "status"
  | "clock"
  | "log"
> & { readonly config: Pick<KmsConfig, "limits" | "olderForm" | "ownNames" | "adminTokenHash"> };

/** The RPC service of the main listener: every row names who may call it, and each but GetMeta asks whether this KMS may serve. */
export function kmsService(options: KmsServiceOptions): RpcService<Caller, CallerRule> {
  const { gate, evidence, log } = options;
  return {
    prefixes: ["KMS."],
    authenticate: callerReader({
      ...evidence,
      onRefusal: ({ method, requestId, remoteAddress }, reason) => {
        const { next } = KMS_RULES.evidence;
        log.warn({ method, requestId, reason: excerpt(reason), rule: "evidence", field: "quote", next }, "refused");
        return gate.recordRefusal({
          action: method,
          reason,
          rule: "evidence",
          field: "quote",
          requestId,
          remoteAddress,
        });
      },
    }),
    routes: routes(options).map((row) => ({
      ...row,
      handle: async (request, caller, call) => {
        try {
          return await row.handle(request, caller, call);
        } catch (error) {
          const answered = told(error);
          if (answered !== error)
            log.warn({ method: call.method, requestId: call.requestId, error: errorChain(error) }, "call failed");
          throw answered;
        }
      },
    })),
    log,
  };
}

/** The route table. A version that is not known is told before anything else, as peers expect. */
function routes(options: KmsServiceOptions): Route<Caller, CallerRule>[] {
  const { keys, auth, gate, evidence, caches, status, clock, selfAuthorization } = options;
  const { limits, ownNames, adminTokenHash } = options.config;
  const methods = kms.KMS.method;
  const bodyLimit = (method: keyof KmsConfig["limits"]): { readonly bodyLimitBytes?: number } =>
    limits[method] === undefined ? {} : { bodyLimitBytes: limits[method] };
  const now = (): number => Math.floor(clock.now() / 1000);
  const envPublicKey = envPublicKeys(keys);
  let bootstrapInfoJson: JsonObject | undefined;
  const origin = (call: RpcCall) => ({ requestId: call.requestId, remoteAddress: call.remoteAddress });
  /** Told and recorded like every refusal: the one who is refused reads what decided. */
  const refuse = async (
    action: string,
    call: RpcCall,
    refused: { readonly reason: string; readonly rule: KmsRule; readonly field: string },
  ): Promise<void> => {
    options.log.warn({ action, requestId: call.requestId, ...refused, next: KMS_RULES[refused.rule].next }, "refused");
    await gate.recordRefusal({ action, ...refused, ...origin(call) });
  };
  const requireSelf = async (call: RpcCall): Promise<void> => {
    try {
      await selfAuthorization.require();
    } catch (cause) {
      if (!(cause instanceof KmsError)) throw cause;
      await refuse(call.method, call, { reason: errorChain(cause), rule: "self-authorization", field: cause.code });
      throw new RpcError("handler-failed", "KMS self authorization failed", { cause });
    }
  };
  /** The text that clients know, with the context that they know it in. */
  const requireEvidence = async (caller: Caller, call: RpcCall, context?: string): Promise<AttestedCaller> => {
    if (caller.kind === "attested") return caller;
    const missing = new RpcError("unauthenticated", "No attestation provided");
    await refuse(call.method, call, { reason: missing.message, rule: "evidence", field: "client certificate" });
    throw context === undefined ? missing : new RpcError("unauthenticated", context, { cause: missing });
  };
  return [
    route(methods.getAppKey, {
      auth: "attested",
      ...bodyLimit("GetAppKey"),
      handle: async (request, caller: Caller, call) => {
        if (request.apiVersion > 1) throw new RpcError("bad-request", `Unsupported API version: ${request.apiVersion}`);
        await requireSelf(call);
        const { attestation, verified } = await requireEvidence(caller, call, "App not allowed");
        const decision = await withContext("App not allowed", () =>
          gate.decide({
            action: "app-key",
            attestation,
            verified,
            vmConfig: request.vmConfig,
            boottime: false,
            ...origin(call),
            signal: call.signal,
          }),
        );
        if (decision.kind === "refused")
          throw new RpcError("handler-failed", "App not allowed", { cause: new Error(decision.reason) });
        const { info, gatewayAppId } = decision;
        return {
          caCert: keys.rootCa.pem,
          ...deriveAppKeys(keys, info),
          tproxyAppId: gatewayAppId,
          gatewayAppId,
          osImageHash: info.osImageHash,
        };
      },
    }),
    route(methods.getKmsKey, {
      auth: "attested",
      ...bodyLimit("GetKmsKey"),
      handle: async (request, caller: Caller, call) => {
        const [blocker] = options.settingsAgainstHandOver;
        if (blocker !== undefined) {
          const reason = `root keys are never handed out while ${blocker} is in force`;
          await refuse("kms-key", call, { reason, rule: "insecure-settings", field: blocker });
          throw new RpcError("handler-failed", reason);
        }
        await requireSelf(call);
        const { attestation, verified } = await requireEvidence(caller, call);
        const decision = await gate.decide({
          action: "kms-key",
          attestation,
          verified,
          vmConfig: request.vmConfig,
          boottime: false,
          ...origin(call),
          signal: call.signal,
        });
        if (decision.kind === "refused") throw new RpcError("handler-failed", decision.reason);
        return { tempCaKey: keys.tempCaKeyPem, keys: [{ caKey: pkcs8Pem(keys.rootCa.key), k256Key: keys.rootK256 }] };
      },
    }),
    route(methods.getAppEnvEncryptPubKey, {
      auth: "none",
      ...bodyLimit("GetAppEnvEncryptPubKey"),
      handle: async (request, _caller, call) => {
        await requireSelf(call);
        if (request.appId.length !== 20) throw new RpcError("bad-request", "app_id must be 20 bytes");
        return envPublicKey(appId(request.appId), BigInt(now()));
      },
    }),
    route(methods.getMeta, {
      auth: "none",
      ...bodyLimit("GetMeta"),
      handle: async () => {
        const info = await auth.info();
        const chain = {
          kmsContractAddress: info.kmsContractAddr,
          chainId: info.chainId,
          appAuthImplementation: info.appImplementation,
        };
        return {
          caCert: keys.rootCa.pem,
          allowAnyUpgrade: auth.isDev,
          isDev: auth.isDev,
          k256Pubkey: keys.rootK256PublicKey,
          ...(keys.bootstrapInfo === undefined ? {} : { bootstrapInfo: keys.bootstrapInfo }),
          gatewayAppId: info.gatewayAppId,
          ...(auth.isDev ? {} : chain),
        };
      },
      extendJson: (json): JsonObject => {
        const info = json["bootstrap_info"] as JsonObject | null;
        // It never changes, and anybody may ask for it.
        bootstrapInfoJson ??= info === null ? undefined : withLegacyEvidence(info);
        return { ...json, bootstrap_info: bootstrapInfoJson ?? null, ...status.report() };
      },
    }),
    route(methods.getTempCaCert, {
      auth: "none",
      ...bodyLimit("GetTempCaCert"),
      handle: async (_request, _caller, call) => {
        await requireSelf(call);
        return { tempCaCert: keys.tempCa.pem, tempCaKey: keys.tempCaKeyPem, caCert: keys.rootCa.pem };
      },
    }),
    route(methods.signCert, {
      // The evidence is in the request: it is bound to the key that the certificate is for.
      auth: "none",
      ...bodyLimit("SignCert"),
      handle: async (request, _caller, call) => {
        if (request.apiVersion > 2) throw new RpcError("bad-request", `Unsupported API version: ${request.apiVersion}`);
        await requireSelf(call);
        const csr = await withContext("Failed to parse csr", () => decodeCsr(request.apiVersion, request.csr));
        const expected = reportDataFor("ratls-cert", csr.publicKeyInfo);
        const refuseEvidence = async (reason: string): Promise<never> => {
          await refuse("sign-cert", call, { reason: recordedReason(reason), rule: "evidence", field: "quote" });
          throw new RpcError("handler-failed", "Quote verification failed", { cause: new Error(reason) });
        };
        const { quoteAhead } = csr;
        if (quoteAhead !== undefined) {
          const reason = await withContext("Quote verification failed", () =>
            refusalOfQuote(evidence, quoteAhead, expected, call.signal),
          );
          if (reason !== undefined) await refuseEvidence(reason);
        }
        const publicPoint = await withContext("Failed to verify csr signature", () =>
          verifyCsr(csr, request.signature),
        );
        const attestation = await withContext("Quote verification failed", () => csr.attestation());
        const verified = await verifyEvidence(evidence, attestation, expected, call.signal);
        if (!verified.ok) return refuseEvidence(verified.reason);
        const own = ownNameIn(csr.config, [keys.domain, ...ownNames]);
        if (own !== undefined) {
          const { field } = own;
          const reason = `certificate that covers "${own.ownName}" is refused: that is the KMS's own name`;
          await refuse("sign-cert", call, { reason, rule: "own-name", field });
          throw new RpcError("bad-request", "Failed to sign certificate", {
            cause: new Error(`${reason} (rule own-name, field ${field})`),
          });
        }
        const decision = await gate.decide({
          action: "sign-cert",
          attestation,
          verified,
          vmConfig: request.vmConfig,
          boottime: true,
          ...origin(call),
          signal: call.signal,
        });
        if (decision.kind === "refused") throw new RpcError("handler-failed", decision.reason);
        const vmConfig = request.vmConfig === "" ? attestation.config : request.vmConfig;
        const certificateChain = await withContext("Failed to sign certificate", () =>
          signCertificate({
            rootCa: keys.rootCa,
            config: csr.config,
            publicPoint,
            info: decision.info,
            attestation,
            verified,
            vmConfig,
            olderForm: options.config.olderForm,
            now: now(),
          }),
        );
        return { certificateChain };
      },
    }),
    route(methods.clearImageCache, {
      // The token in the request is the authentication, as clients up to 0.5.11 send it.
      auth: "none",
      ...bodyLimit("ClearImageCache"),
      handle: async (request) => {
        if (!isToken(request.token, adminTokenHash)) throw new RpcError("unauthenticated", "Invalid token");
        await clearImageCache(caches, request.imageHash, request.configHash);
        return {};
      },
    }),
  ];
}

/** An empty or malformed hash matches nothing. */
function isToken(token: string, expectedHash: string): boolean {
  if (!/^(0x)?[0-9a-fA-F]{64}$/.test(expectedHash)) return false;
  return timingSafeEqual(createHash("sha256").update(utf8(token)).digest(), parseHex(expectedHash));
}
