import type { ReportData } from "@dstack/bytes";
import type { Attestation, RuntimeEvent } from "@dstack/attest";

/** What the guest needs of its TEE; `@dstack/tee` behind it. */
export interface GuestTee {
  /** Extends RTMR3 by the event and logs it. */
  emit(event: string, payload: Uint8Array): Promise<void>;
  /** All events emitted so far. */
  events(): readonly RuntimeEvent[];
  /** Quote, firmware log and events in one; `config` is the vm_config text. */
  attest(reportData: ReportData, config: string): Promise<Attestation>;
}
