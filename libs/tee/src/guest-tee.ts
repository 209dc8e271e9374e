import { parseCcel, runtimeEntries } from "@dstack/attest";
import type { Attestation, EventLogEntry, RuntimeEvent } from "@dstack/attest";
import type { Hash48, ReportData } from "@dstack/bytes";
import { systemCode } from "@dstack/errors";
import { readAttribute } from "./attribute.ts";
import { TeeError } from "./errors.ts";
import type { TeePaths } from "./paths.ts";
import { extendRtmr, readRtmr } from "./rtmr.ts";
import { RuntimeEventLog } from "./runtime-event-log.ts";
import { tsmQuote } from "./tsm-quote.ts";
import type { QuoteOptions } from "./tsm-quote.ts";

const MAX_CCEL_BYTES = 4 * 1024 * 1024;
const MAX_WAITING = 256;

/**
 * The TEE as the guest uses it: measure events, take quotes, make attestations. One per guest; its
 * operations run one after the other, so that a quote and the log beside it always belong together.
 */
export class GuestTee {
  readonly #paths: TeePaths;
  readonly #log: RuntimeEventLog;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  private constructor(paths: TeePaths, log: RuntimeEventLog) {
    this.#paths = paths;
    this.#log = log;
  }

  /** @throws TeeError `tee-unavailable`, `log-unrecoverable` */
  static async open(paths: TeePaths): Promise<GuestTee> {
    const log = await RuntimeEventLog.open(paths.runtimeLog, {
      read: () => readRtmr(paths.measurements, 3),
      extend: (digest) => extendRtmr(paths.measurements, 3, digest),
    });
    return new GuestTee(paths, log);
  }

  /** Events measured so far. */
  get events(): readonly RuntimeEvent[] {
    return [...this.#log.events];
  }

  /**
   * Extends RTMR3 by an event and logs it.
   * @param version the digest form
   * @throws TeeError, AttestError `event-invalid`
   */
  emit(event: string, payload: Uint8Array, version: 1 | 2 = 1): Promise<void> {
    return this.#exclusive(() => this.#log.emit(event, payload, version));
  }

  /** As `emit`, but nothing happens where this boot has measured the same event already. */
  emitOnce(event: string, payload: Uint8Array, version: 1 | 2 = 1): Promise<void> {
    return this.#exclusive(() => this.#log.emitOnce(event, payload, version));
  }

  /** A raw quote. @throws TeeError `tee-unavailable`, `quote-timeout`, `quote-invalid`, `aborted` */
  getQuote(reportData: ReportData, options: QuoteOptions = {}): Promise<Uint8Array> {
    return this.#exclusive(() => tsmQuote(this.#paths.report, reportData, options));
  }

  /**
   * Quote, firmware log and runtime events of one moment. Write it with `encodeAttestation`, into a
   * certificate after `stripAttestation`, as GetQuote's log with `encodeEventLogJson(fullEventLog(...))`.
   * @param config vm_config JSON text
   */
  attest(reportData: ReportData, config: string, options: QuoteOptions = {}): Promise<Attestation> {
    return this.#exclusive(async () => {
      const quote = await tsmQuote(this.#paths.report, reportData, options);
      const runtimeEvents = this.events;
      const eventLog = [...(await this.readCcel()), ...runtimeEntries(runtimeEvents)];
      return { platform: { kind: "tdx", quote, eventLog }, runtimeEvents, reportData, config };
    });
  }

  readRtmr(index: 0 | 1 | 2 | 3): Promise<Hash48> {
    return readRtmr(this.#paths.measurements, index);
  }

  /** Events of the firmware's log; none where the machine has no such table. */
  async readCcel(): Promise<EventLogEntry[]> {
    try {
      return parseCcel(await readAttribute(this.#paths.ccel, MAX_CCEL_BYTES));
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING)
      throw new TeeError("quote-timeout", `TEE is busy: ${MAX_WAITING} requests are waiting; try again later`);
    this.#waiting++;
    const previous = this.#tail;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tail = promise;
    try {
      await previous;
      return await work();
    } finally {
      this.#waiting--;
      resolve();
    }
  }
}
