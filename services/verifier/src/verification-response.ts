/** The answer of `POST /verify`, member by member as released clients read it. */

export interface VerificationResponse {
  /** Quote, event log and OS image all verified. Says nothing on TCB status, identity or freshness: callers compare those. */
  readonly is_valid: boolean;
  readonly details: VerificationDetails;
  readonly reason: string | null;
}

export interface VerificationDetails {
  readonly quote_verified: boolean;
  readonly event_log_verified: boolean;
  readonly os_image_hash_verified: boolean;
  readonly report_data: string | null;
  readonly tcb_status: string | null;
  readonly advisory_ids: readonly string[];
  readonly app_info: AppInfoJson | null;
  /** Only where the registers were compared with ACPI tables that were computed. */
  readonly acpi_tables_verified?: boolean;
  readonly os_image_is_dev?: boolean;
  readonly os_image_version?: string;
  readonly tee_variant?: string;
  /** Ours, RFC 3339: the first end of a document, a certificate or what the policy takes; ask again before it. */
  readonly good_until?: string;
  readonly key_provider?: { readonly name: string; readonly id: string };
  readonly boot_info?: Readonly<Record<string, string | readonly string[]>>;
  /** With `debug` only. */
  readonly acpi_tables?: { readonly tables: string; readonly rsdp: string; readonly loader: string };
  readonly rtmr_debug?: readonly RegisterDebug[];
  /** Ours: every check with its reason. */
  readonly checks: readonly {
    readonly name: string;
    readonly result: string;
    readonly reason: string;
    readonly warning?: string;
  }[];
}

export interface AppInfoJson {
  readonly app_id: string;
  readonly compose_hash: string;
  readonly instance_id: string;
  readonly device_id: string;
  readonly mr_system: string;
  readonly mr_aggregated: string;
  readonly os_image_hash: string;
  readonly key_provider_info: string;
  readonly init_script_hashes: readonly string[];
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
}

export interface RegisterDebug {
  readonly rtmr: string;
  readonly expected: string;
  readonly actual: string;
  readonly events: readonly EventDebug[];
}

export interface EventDebug {
  readonly index: number;
  readonly event_type: number;
  readonly event_name: string;
  readonly actual_digest: string;
  readonly expected_digest?: string;
  readonly payload_len: number;
  readonly status: "match" | "mismatch" | "extra" | "missing";
}

/** A refusal before anything was learnt. */
export const refusal = (reason: string, checks: VerificationDetails["checks"] = []): VerificationResponse => ({
  is_valid: false,
  details: {
    quote_verified: false,
    event_log_verified: false,
    os_image_hash_verified: false,
    report_data: null,
    tcb_status: null,
    advisory_ids: [],
    app_info: null,
    checks,
  },
  reason,
});
