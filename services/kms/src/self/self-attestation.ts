/**
 * What this KMS can prove of itself.
 * In: the guest agent of its own VM. Out: evidence for a key or a value, and this KMS's own boot info.
 * Its own evidence is verified like anybody's, and again every hour, since a platform's verdict changes.
 * Whether it may serve at all, the auth server says before each call.
 * Never: evidence that was not verified; a denial, or an error, that is kept.
 */
import { padReportData, reportDataFor, type AppInfo, type Attestation } from "@dstack/attest";
import type { ReportData } from "@dstack/bytes";
import { KmsError } from "../errors.ts";
import type { SentBootInfo } from "@dstack/governance";
import { bootInfoJson, type VerifiedEvidence } from "../release/boot-info.ts";
import { verifyEvidence, type EvidenceRule } from "../release/caller.ts";
import type { GuestAgent } from "./guest-agent.ts";

/** What this KMS is, as its own verified evidence says. */
export interface SelfBootInfo {
  readonly attestation: Attestation;
  readonly verified: VerifiedEvidence;
  readonly info: AppInfo;
  /** For the auth server. */
  readonly json: SentBootInfo;
}

export interface SelfAttestationOptions {
  readonly agent: GuestAgent;
  readonly evidence: EvidenceRule;
}

/** Registers never change while a VM runs, but the judgement on its platform does: a recovered TCB must show. */
const BOOT_INFO_AGE_MS = 3_600_000;
const VERIFY_TIMEOUT_MS = 60_000;

/** Evidence of the KMS itself. */
export class SelfAttestation {
  readonly #agent: GuestAgent;
  readonly #evidence: EvidenceRule;
  #known: { readonly at: number; readonly bootInfo: SelfBootInfo } | undefined;
  #asking: Promise<SelfBootInfo> | undefined;

  constructor({ agent, evidence }: SelfAttestationOptions) {
    this.#agent = agent;
    this.#evidence = evidence;
  }

  /** @throws KmsError `agent-unavailable` */
  attest(reportData: ReportData): Promise<Attestation> {
    return this.#agent.attest(reportData);
  }

  /** Evidence bound to a TLS key. @throws KmsError `agent-unavailable` */
  attestKey(publicKeyInfo: Uint8Array): Promise<Attestation> {
    return this.#agent.attest(reportDataFor("ratls-cert", publicKeyInfo));
  }

  /** @throws KmsError `agent-unavailable` */
  vmConfig(): Promise<string> {
    return this.#agent.vmConfig();
  }

  /**
   * This KMS as the auth server is to know it, at most an hour old.
   * @throws KmsError `agent-unavailable`, `self-evidence-invalid`, AttestError
   */
  bootInfo(): Promise<SelfBootInfo> {
    const now = this.#evidence.clock.now();
    // A clock that was set back makes nothing younger.
    if (this.#known !== undefined && now >= this.#known.at && now - this.#known.at < BOOT_INFO_AGE_MS)
      return Promise.resolve(this.#known.bootInfo);
    this.#asking ??= this.#verify()
      .then((bootInfo) => {
        this.#known = { at: now, bootInfo };
        return bootInfo;
      })
      .finally(() => {
        this.#asking = undefined;
      });
    return this.#asking;
  }

  async #verify(): Promise<SelfBootInfo> {
    const reportData = padReportData(new Uint8Array());
    const attestation = await this.#agent.attest(reportData);
    const verified = await verifyEvidence(
      this.#evidence,
      attestation,
      reportData,
      AbortSignal.timeout(VERIFY_TIMEOUT_MS),
    );
    if (!verified.ok)
      throw new KmsError("self-evidence-invalid", `the evidence of this KMS does not verify: ${verified.reason}`);
    return { attestation, verified, info: verified.appInfo, json: bootInfoJson(verified, verified.appInfo) };
  }
}
