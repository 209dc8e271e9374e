import type { DocumentKind } from "@dstack/attest";
import type { AuditLog } from "@dstack/audit-log";
import type { SeenPlatforms } from "@dstack/verify";
import { Counter, Gauge, Registry } from "prom-client";
import type { Status } from "./status.ts";

/** Methods whose finished requests count as attestation requests, by released dashboards. */
const ATTESTED_METHODS: ReadonlySet<string> = new Set(["GetAppKey", "GetKmsKey", "SignCert"]);

/** Counters of one KMS. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests = new Counter({
    name: "dstack_kms_attestation_requests_total",
    help: "Finished requests that need attestation",
    registers: [this.#registry],
  });
  readonly #failures = new Counter({
    name: "dstack_kms_attestation_failures_total",
    help: "Requests that need attestation and failed",
    registers: [this.#registry],
  });
  readonly #limited = new Counter({
    name: "dstack_kms_rate_limited_requests_total",
    help: "Anonymous requests refused by a rate limit",
    labelNames: ["by"],
    registers: [this.#registry],
  });

  readonly #auditRecords = new Gauge({
    name: "dstack_kms_audit_records",
    help: "Lines of the audit log",
    registers: [this.#registry],
  });
  readonly #auditHead = new Gauge({
    name: "dstack_kms_audit_head_info",
    help: "1 for the hash of the audit log's last line",
    labelNames: ["hash"],
    registers: [this.#registry],
  });
  readonly #audit: Pick<AuditLog, "head">;
  readonly #collateral = new Gauge({
    name: "dstack_kms_collateral_left_days",
    help: "Days until the first document of this kind ends, of collateral used within a day",
    labelNames: ["document"],
    registers: [this.#registry],
  });
  readonly #daysLeft: () => ReadonlyMap<DocumentKind, number>;

  readonly #platforms: SeenPlatforms;
  readonly #platformsSeen = new Gauge({
    name: "dstack_kms_platforms_seen",
    help: "Platforms whose evidence held within a day, by family and by the TCB status of the last verdict",
    labelNames: ["fmspc", "status"],
    registers: [this.#registry],
  });

  /** @param audit the log whose head a scraper keeps: a log that was cut later does not lead to it */
  constructor(
    status: Status,
    audit: Pick<AuditLog, "head">,
    platforms: SeenPlatforms,
    daysLeft: () => ReadonlyMap<DocumentKind, number>,
  ) {
    new Gauge({
      name: "dstack_kms_environment_info",
      help: "1 for the environment that the key folder is marked with",
      labelNames: ["environment"],
      registers: [this.#registry],
    }).set({ environment: status.environment }, 1);
    const insecure = new Gauge({
      name: "dstack_kms_insecure_setting_info",
      help: "1 for each insecure setting in force",
      labelNames: ["setting"],
      registers: [this.#registry],
    });
    for (const setting of status.insecureSettings) insecure.set({ setting }, 1);
    this.#audit = audit;
    this.#platforms = platforms;
    this.#daysLeft = daysLeft;
  }

  /** A finished HTTP request, also one that was refused before dispatch. */
  observe(path: string, httpStatus: number): void {
    if (!path.startsWith("/prpc/")) return;
    let method = path.slice("/prpc/".length);
    while (method.startsWith("KMS.")) method = method.slice(4);
    if (!ATTESTED_METHODS.has(method)) return;
    this.#requests.inc();
    if (httpStatus >= 400) this.#failures.inc();
  }

  rateLimited(by: "address" | "app"): void {
    this.#limited.inc({ by });
  }

  text(): Promise<string> {
    const { seq, hash } = this.#audit.head;
    this.#auditRecords.set(seq);
    this.#auditHead.reset();
    this.#auditHead.set({ hash }, 1);
    this.#platformsSeen.reset();
    for (const { fmspc, status, count } of this.#platforms.counts()) this.#platformsSeen.set({ fmspc, status }, count);
    this.#collateral.reset();
    for (const [document, days] of this.#daysLeft()) this.#collateral.set({ document }, days);
    return this.#registry.metrics();
  }
}
