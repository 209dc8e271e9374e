import type { Quote } from "./quote.ts";
import type { SignedDocument } from "./signed-document.ts";
import type { TcbShortfall } from "./tcb-shortfall.ts";
import type { TcbStatus } from "./tcb-status.ts";
import type { TrustAnchor } from "./trust-anchor.ts";

/** What a verified quote proves about platform and software. */
export interface QuoteClaims {
  readonly quote: Quote;
  /** Of the platform, its TDX module and its quoting enclave together. */
  readonly status: TcbStatus;
  /** Of platform and TDX module. */
  readonly platformStatus: TcbStatus;
  readonly qeStatus: TcbStatus;
  readonly advisoryIds: readonly string[];
  /** The platform is up to date already and would prove it if the TD were started again (TD report 1.5 only). */
  readonly relaunchAdvised: boolean;
  /** What is short for a better status; undefined where nothing that is published is better. */
  readonly shortfall?: TcbShortfall;
  /** 16 bytes that name the platform. */
  readonly ppid: Uint8Array;
  readonly fmspc: Uint8Array;
  /** ISO 8601 text: the date of the matched TCB level. */
  readonly tcbDate: string;
  /** ISO 8601 text: the earliest date among the matched levels of platform, TDX module and quoting enclave. */
  readonly earliestTcbDate: string;
  readonly tcbEvaluationDataNumber: number;
  /**
   * Unix seconds: the earliest end of a document or certificate that was used, or of what the policy takes.
   * Whoever keeps the verdict asks again before it.
   */
  readonly goodUntil: number;
  /** The signed documents behind the verdict. */
  readonly documents: readonly SignedDocument[];
  readonly trustAnchor: TrustAnchor["kind"];
}
