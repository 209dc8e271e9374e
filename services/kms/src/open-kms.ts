import type { AuditLog } from "@dstack/audit-log";
import type { Logger } from "@dstack/log";
import type { KmsConfig } from "./config/kms-config.ts";
import type { KeyStore } from "./keys/key-store.ts";
import type { KmsParts } from "./kms-parts.ts";
import type { Metrics } from "./metrics.ts";
import type { ReleaseGate } from "./release/release-gate.ts";
import type { Status } from "./status.ts";

/** A KMS that has its keys: made once, and what each listener and service takes what it needs from. */
export interface OpenKms extends KmsParts {
  readonly config: KmsConfig;
  readonly version: string;
  readonly keys: KeyStore;
  readonly audit: AuditLog;
  readonly gate: ReleaseGate;
  readonly status: Status;
  readonly metrics: Metrics;
  /** Settings in force with which the root keys never leave. */
  readonly settingsAgainstHandOver: readonly string[];
  readonly clock: { now(): number };
  readonly log: Logger;
}
