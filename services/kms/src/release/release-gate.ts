/**
 * The one way to keys.
 * In: evidence that a caller showed, and what it asks for. Out: a permission, or the rule and field that refused.
 * The order: the evidence, the auth server, the OS image, a line in the audit log; then keys are derived.
 * Images are downloaded for allowed callers only; each step has its bound and its deadline.
 * Never: a key without its audit line on the disk; an answer of the auth server that is kept.
 */
import { toHex } from "@dstack/bytes";
import {
  appInfo,
  AttestError,
  checkLaunchBinding,
  type AppInfo,
  type Attestation,
  type AttestErrorCode,
} from "@dstack/attest";
import { AuditLogError, type AuditLog } from "@dstack/audit-log";
import type { Logger } from "@dstack/log";
import { errorChain } from "@dstack/errors";
import type { BootKind, SentBootInfo } from "@dstack/governance";
import { KmsError, type KmsRule } from "../errors.ts";
import type { OsImageVerifier } from "../image/os-image-verifier.ts";
import { denialText, type AuthApi } from "./auth-api.ts";
import { bootInfoJson, type VerifiedEvidence } from "./boot-info.ts";
import { nextStep } from "./next-step.ts";
import { RefusalRecord, type RefusalEntry } from "./refusal-record.ts";
import { Turnstile } from "./turnstile.ts";

export interface ReleaseRequest {
  /** `kms-key` hands the roots to another KMS, which the auth server is asked about as such. */
  readonly action: "app-key" | "sign-cert" | "kms-key";
  readonly attestation: Attestation;
  readonly verified: VerifiedEvidence;
  /** vm_config of the request; the attestation's own where empty. */
  readonly vmConfig: string;
  /** Look at the events up to `boot-mr-done` only. */
  readonly boottime: boolean;
  readonly requestId: string;
  readonly remoteAddress: string | undefined;
  readonly signal: AbortSignal;
}

export type ReleaseDecision =
  | { readonly kind: "released"; readonly info: AppInfo; readonly gatewayAppId: string }
  /** `reason` is what the caller is told, rule and field in it. */
  | { readonly kind: "refused"; readonly reason: string; readonly rule: string; readonly field: string };

export interface ReleaseGateOptions {
  readonly auth: AuthApi;
  readonly images: OsImageVerifier;
  readonly audit: AuditLog;
  /** A production folder takes no wildcard for the gateway (#607). */
  readonly refuseAnyGateway: boolean;
  readonly clock: { now(): number };
  readonly log: Logger;
}

const MAX_VM_CONFIG_CHARS = 256 * 1024;
const MAX_REASON_CHARS = 4_000;
/** Questions to the auth server under way, and callers that wait to have theirs asked. */
const MAX_ASKING = 32;
const MAX_WAITING = 10_000;

/**
 * The one way to keys: verified evidence, then the auth server, then the image's measurements,
 * then a line in the audit log. The webhook comes before the image, so that images are downloaded
 * for allowed callers only.
 */
export class ReleaseGate {
  readonly #options: ReleaseGateOptions;
  readonly #refusals: RefusalRecord;
  readonly #asking = new Turnstile({ places: MAX_ASKING, maxWaiting: MAX_WAITING });

  constructor(options: ReleaseGateOptions) {
    this.#options = options;
    this.#refusals = new RefusalRecord(options);
  }

  /**
   * Decides, and has the decision on disk before it returns.
   * @throws KmsError `auth-unreachable`, `auth-answer-invalid`, `overloaded`, `image-unavailable` where nothing
   *   could be decided, `audit-unwritable` where the decision could not be recorded
   */
  async decide(request: ReleaseRequest): Promise<ReleaseDecision> {
    try {
      return await this.#decide(request);
    } catch (error) {
      const { action, requestId, remoteAddress } = request;
      const reason = errorChain(error).slice(0, MAX_REASON_CHARS);
      this.#options.log.error(
        { action, requestId, remoteAddress, error: reason },
        "nothing could be decided, so nothing is released",
      );
      const rule = error instanceof KmsError || error instanceof AuditLogError ? error.code : "internal";
      await this.#refusals.write("failed", { action, reason, rule, field: undecided(rule), requestId, remoteAddress });
      throw error;
    }
  }

  async #decide(request: ReleaseRequest): Promise<ReleaseDecision> {
    const { auth, images, audit, refuseAnyGateway } = this.#options;
    const { attestation, verified } = request;
    const identified = this.#identify(request);
    if (identified.kind === "refused") return this.#refuse(request, undefined, identified);
    const { info, vmConfig } = identified;

    const boot = bootInfoJson(verified, info);
    const decision = await this.#asking.through(
      () => auth.bootAuth(bootKind(request), boot, request.signal),
      request.signal,
    );
    if (decision.kind === "denied") {
      const { rule = "auth api", field = "isAllowed" } = decision;
      // Rule and field are told where the auth server named them; the records have what there is.
      const reason = `Boot denied: ${denialText(decision)}`.slice(0, MAX_REASON_CHARS);
      return this.#refuse(request, info, { kind: "refused", reason, rule, field }, boot);
    }
    if (refuseAnyGateway && request.action !== "kms-key" && decision.gatewayAppId.trim().toLowerCase() === "any") {
      return this.#refuse(
        request,
        info,
        refusal(
          'gatewayAppId "any" is refused in a production key folder; name the gateway\'s app id',
          "gatewayAppId",
          "gatewayAppId",
        ),
      );
    }
    try {
      await images.verify(vmConfig, verified.report, attestation.platform.eventLog, request.signal);
    } catch (error) {
      if (!(error instanceof KmsError) || error.code === "image-unavailable") throw error;
      const { register } = error.facts;
      return this.#refuse(
        request,
        info,
        refusal(
          `Failed to verify os image hash: ${errorChain(error)}`,
          "os-image",
          typeof register === "string" ? register : "osImageHash",
        ),
      );
    }
    await audit.append({
      action: request.action,
      outcome: "released",
      ...identity(request, info),
      gatewayAppId: decision.gatewayAppId,
    });
    return { kind: "released", info, gatewayAppId: decision.gatewayAppId };
  }

  /** Records a refusal that happened before anything was known of the caller. */
  recordRefusal(entry: RefusalEntry): Promise<void> {
    return this.#refusals.write("refused", entry);
  }

  #identify({
    attestation,
    verified,
    vmConfig: sent,
    boottime,
  }: ReleaseRequest): { readonly kind: "identified"; readonly info: AppInfo; readonly vmConfig: string } | Refusal {
    if (sent.length > MAX_VM_CONFIG_CHARS)
      return refusal(
        `vm_config: at most ${MAX_VM_CONFIG_CHARS} characters, got ${sent.length}`,
        "vm-config",
        "vm_config",
      );
    const vmConfig = sent === "" ? attestation.config : sent;
    try {
      const info = appInfo({ attestation, verified: verified.quote, vmConfig, boottime });
      // The evidence was judged with its own configuration; that of the request must be the VM's as well.
      const binding = checkLaunchBinding(attestation, verified.report, { vmConfig });
      return binding.result === "fail"
        ? refusal(`mr-config-id: ${binding.reason}`, "mr-config-id", "vm_config")
        : { kind: "identified", info, vmConfig };
    } catch (error) {
      if (!(error instanceof AttestError)) throw error;
      return refusal(error.message, error.code, error.code === "vm-config-malformed" ? "vm_config" : "events");
    }
  }

  /** @param denied what the auth server was told, where it is the one that refused */
  async #refuse(
    request: ReleaseRequest,
    info: AppInfo | undefined,
    refused: Refusal,
    denied?: SentBootInfo,
  ): Promise<Refusal> {
    const { reason, rule, field } = refused;
    const known = info === undefined ? {} : identity(request, info);
    this.#options.log.warn(
      {
        action: request.action,
        requestId: request.requestId,
        reason,
        rule,
        field,
        next: nextStep(bootKind(request), refused, denied),
        ...known,
      },
      "refused",
    );
    await this.#refusals.write("refused", {
      action: request.action,
      reason,
      rule,
      field,
      requestId: request.requestId,
      remoteAddress: request.remoteAddress,
      ...known,
    });
    return refused;
  }
}

type Refusal = Extract<ReleaseDecision, { readonly kind: "refused" }>;

const bootKind = ({ action }: ReleaseRequest): BootKind => (action === "kms-key" ? "kms" : "app");

const refusal = (reason: string, rule: KmsRule | AttestErrorCode, field: string): Refusal => ({
  kind: "refused",
  reason: `${reason.slice(0, MAX_REASON_CHARS)} (rule ${rule}, field ${field})`,
  rule,
  field,
});

/** What was missing for a decision, by the code of the error. */
const undecided = (code: string): string =>
  code.startsWith("auth-")
    ? "auth api"
    : code.startsWith("image-")
      ? "OS image"
      : code.startsWith("audit-")
        ? "audit log"
        : "";

/** What the audit line says of the caller. */
function identity(request: ReleaseRequest, info: AppInfo): Readonly<Record<string, unknown>> {
  const { quote } = request.verified;
  return {
    requestId: request.requestId,
    remoteAddress: request.remoteAddress,
    appId: toHex(info.appId),
    composeHash: toHex(info.composeHash),
    instanceId: toHex(info.instanceId),
    deviceId: toHex(info.deviceId),
    osImageHash: toHex(info.osImageHash),
    mrAggregated: toHex(info.mrAggregated),
    tcbStatus: quote.status,
    advisoryIds: quote.advisoryIds,
    trustAnchor: quote.trustAnchor,
  };
}
