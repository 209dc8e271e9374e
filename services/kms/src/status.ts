import type { Environment } from "@dstack/key-folder";

export interface StatusOptions {
  readonly environment: Environment;
  readonly insecureSettings: readonly string[];
  readonly version: string;
  readonly domain: string;
  /** Whether the RPC certificate carries evidence of this KMS. */
  readonly attestsItself: boolean;
}

/** What this KMS says of itself, to people and in every report. */
export class Status {
  readonly environment: Environment;
  readonly insecureSettings: readonly string[];
  readonly version: string;
  readonly domain: string;
  readonly #attestsItself: boolean;

  constructor(options: StatusOptions) {
    this.environment = options.environment;
    this.insecureSettings = options.insecureSettings;
    this.version = options.version;
    this.domain = options.domain;
    this.#attestsItself = options.attestsItself;
  }

  /** Members for `GetMeta` in JSON and for `GET /`. */
  report(): {
    readonly environment: Environment;
    readonly insecure_settings: readonly string[];
    readonly checks: readonly { readonly name: string; readonly result: string; readonly reason: string }[];
  } {
    return {
      environment: this.environment,
      insecure_settings: this.insecureSettings,
      checks: [
        this.#attestsItself
          ? { name: "kms-attestation", result: "pass", reason: "the TLS certificate carries evidence: verify it" }
          : { name: "kms-attestation", result: "not applicable", reason: "KMS outside a TEE" },
      ],
    };
  }
}
