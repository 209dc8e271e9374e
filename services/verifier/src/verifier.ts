/**
 * Evidence in, a verdict out.
 * In: a request with a quote, an event log, a VM configuration or a whole attestation; or a certificate with evidence.
 * Out: every check with its result and reason, and what the evidence says where it holds.
 * The rules are those of the libraries that the KMS and `dstack verify` use; only the wire's form is this service's.
 * Never: a verdict that is kept; an error for what a request says; a check that is left out and not named.
 */
import { toHex } from "@dstack/bytes";
import {
  AttestError,
  firstFailure,
  isoTime,
  parseKeyProviderInfo,
  type Attestation,
  type KeyProviderInfo,
  type QuotePolicy,
  type TdReport,
  type TrustAnchor,
} from "@dstack/attest";
import type { AttestationVerification, CollateralSource } from "@dstack/attest/node";
import type { Logger } from "@dstack/log";
import { acpiTables, machineOf } from "@dstack/measure";
import { errorChain } from "@dstack/errors";
import {
  evidenceFromJson,
  evidenceRefusal,
  KnownMeasurements,
  type SeenPlatforms,
  verifyEvidence,
  type Evidence,
  type EvidenceVerification,
  type OsImageSource,
  type OsImageVerdict,
  type VerifyEvidenceOptions,
} from "@dstack/verify";
import { registerDebug } from "./register-debug.ts";
import {
  refusal,
  type AppInfoJson,
  type VerificationDetails,
  type VerificationResponse,
} from "./verification-response.ts";

export interface VerifierOptions {
  readonly collateralSource: CollateralSource;
  readonly trustAnchor: TrustAnchor;
  readonly images: OsImageSource;
  /** More demands on platforms and documents. */
  readonly policy?: QuotePolicy;
  /** Milliseconds. */
  readonly clock: { now(): number };
  readonly log: Logger;
  /** Told of each platform whose evidence held. */
  readonly platforms?: SeenPlatforms;
}

const TEE_VARIANT = "dstack-tdx";
/** Checks of the event log and what is read out of it; everything else about an attestation is the quote's. */
const EVENT_LOG_CHECKS: ReadonlySet<string> = new Set([
  "event-log",
  "boot-events",
  "app-identity",
  "mr-config-id",
  "gpu-launch",
]);

/** Verifies what is posted to it, one request at a time; never throws for what a request says. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #known = new KnownMeasurements();

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /** A request of the HTTP interface, parsed. */
  async verifyRequest(request: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<VerificationResponse> {
    let evidence: Evidence;
    try {
      evidence = evidenceFromJson(request);
    } catch (error) {
      const reason = evidenceRefusal(error);
      if (reason === undefined) throw error;
      return refusal(`Quote verification failed: ${reason}`);
    }
    const { debug = false } = request;
    if (typeof debug !== "boolean")
      return refusal("Quote verification failed: evidence: debug: expected true or false");
    return this.verify(evidence, { debug, ...(signal === undefined ? {} : { signal }) });
  }

  /** Evidence at hand. Where something of ours breaks, the answer says so and the log says what. @throws the signal's reason */
  async verify(
    evidence: Evidence,
    options: { readonly debug?: boolean } & Pick<VerifyEvidenceOptions, "expectedReportData" | "signal"> = {},
  ): Promise<VerificationResponse> {
    const { collateralSource, trustAnchor, images, policy, clock, log } = this.#options;
    const { debug = false, ...rest } = options;
    try {
      const verified = await verifyEvidence(evidence, {
        collateralSource,
        trustAnchor,
        images,
        known: this.#known,
        now: Math.floor(clock.now() / 1000),
        ...(policy === undefined ? {} : { policy }),
        ...rest,
      });
      if (verified.attestation.ok) this.#options.platforms?.saw(verified.attestation.quote);
      return respond(evidence, verified, debug);
    } catch (error) {
      options.signal?.throwIfAborted();
      log.error({ error: errorChain(error) }, "verification broke off");
      return refusal("Internal error: the verification broke off; the verifier's log says why");
    }
  }
}

/** The first of quote, OS image and event log that fails is the reason; what comes after it reads "not verified". */
function respond(
  evidence: Evidence,
  { attestation, osImage, checks }: EvidenceVerification,
  debug: boolean,
): VerificationResponse {
  const listed = checks.map(({ name, result, reason, warning }) => ({
    name,
    result,
    reason,
    ...(warning === undefined ? {} : { warning }),
  }));
  if (!attestation.ok) {
    const ofQuote = attestation.checks.filter(({ name }) => !EVENT_LOG_CHECKS.has(name));
    const quoteFailure = firstFailure(ofQuote);
    if (quoteFailure !== undefined) return refusal(`Quote verification failed: ${quoteFailure}`, listed);
    const failed = refusal(`Event log verification failed: ${attestation.reason}`, listed);
    return {
      ...failed,
      details: {
        ...failed.details,
        quote_verified: true,
        report_data: toHex(evidence.attestation.reportData),
        tee_variant: TEE_VARIANT,
      },
    };
  }
  const known = knownOfQuote(evidence.attestation, attestation, listed);
  if (osImage?.ok !== true) {
    return {
      is_valid: false,
      details: { ...known, ...imageDetails(osImage, evidence, debug) },
      reason: `OS image hash verification failed: ${osImage?.reason ?? "not compared"}`,
    };
  }
  return {
    is_valid: true,
    details: {
      ...known,
      os_image_hash_verified: true,
      event_log_verified: true,
      ...imageDetails(osImage, evidence, debug),
      ...identityDetails(attestation),
    },
    reason: null,
  };
}

type Verified = Extract<AttestationVerification, { ok: true }>;

function knownOfQuote(
  evidence: Attestation,
  { quote }: Verified,
  checks: VerificationDetails["checks"],
): VerificationDetails {
  return {
    quote_verified: true,
    event_log_verified: false,
    os_image_hash_verified: false,
    report_data: toHex(evidence.reportData),
    tcb_status: quote.status,
    advisory_ids: quote.advisoryIds,
    app_info: null,
    tee_variant: TEE_VARIANT,
    good_until: isoTime(quote.goodUntil),
    checks,
  };
}

function imageDetails(
  image: OsImageVerdict | undefined,
  evidence: Evidence,
  debug: boolean,
): Partial<VerificationDetails> {
  if (image === undefined) return {};
  const { method, metadata, config, expected, differences } = image;
  const acpi =
    debug && config !== undefined && method !== undefined && method !== "lite"
      ? acpiTables(machineOf(config))
      : undefined;
  return {
    ...(method === undefined || method === "lite"
      ? {}
      : { acpi_tables_verified: differences?.every(({ register }) => register !== "RTMR0") ?? false }),
    ...(metadata === undefined
      ? {}
      : {
          os_image_is_dev: metadata.is_dev,
          ...(metadata.version === undefined ? {} : { os_image_version: metadata.version }),
        }),
    ...(acpi === undefined
      ? {}
      : { acpi_tables: { tables: toHex(acpi.tables), rsdp: toHex(acpi.rsdp), loader: toHex(acpi.loader) } }),
    ...(debug && expected !== undefined && differences !== undefined && differences.length > 0
      ? { rtmr_debug: registerDebug(expected, differences, evidence.attestation.platform.eventLog) }
      : {}),
  };
}

function identityDetails({ appInfo, report, quote }: Verified): Partial<VerificationDetails> {
  const info = appInfoJson(appInfo, report);
  const provider = keyProvider(appInfo.keyProviderInfo);
  return {
    app_info: info,
    ...(provider === undefined ? {} : { key_provider: provider }),
    boot_info: {
      teeVariant: TEE_VARIANT,
      mrAggregated: info.mr_aggregated,
      osImageHash: info.os_image_hash,
      mrSystem: info.mr_system,
      appId: info.app_id,
      composeHash: info.compose_hash,
      instanceId: info.instance_id,
      deviceId: info.device_id,
      keyProviderInfo: info.key_provider_info,
      tcbStatus: quote.status,
      advisoryIds: quote.advisoryIds,
    },
  };
}

function appInfoJson(info: Verified["appInfo"], { mrTd, rtmr }: TdReport): AppInfoJson {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr;
  return {
    app_id: toHex(info.appId),
    compose_hash: toHex(info.composeHash),
    instance_id: toHex(info.instanceId),
    device_id: toHex(info.deviceId),
    mr_system: toHex(info.mrSystem),
    mr_aggregated: toHex(info.mrAggregated),
    os_image_hash: toHex(info.osImageHash),
    key_provider_info: toHex(info.keyProviderInfo),
    init_script_hashes: info.initScriptHashes.map(toHex),
    mrtd: toHex(mrTd),
    rtmr0: toHex(rtmr0),
    rtmr1: toHex(rtmr1),
    rtmr2: toHex(rtmr2),
    rtmr3: toHex(rtmr3),
  };
}

/** Undefined where the event is absent (boot not that far) or of a form that no guest of ours writes. */
function keyProvider(payload: Uint8Array): KeyProviderInfo | undefined {
  if (payload.length === 0) return undefined;
  try {
    return parseKeyProviderInfo(payload);
  } catch (error) {
    if (error instanceof AttestError) return undefined;
    throw error;
  }
}
