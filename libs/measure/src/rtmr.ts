import { concatBytes, hash48 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { eventType } from "./event-types.ts";
import { sha384 } from "./sha.ts";

/** One entry of the firmware's event log (TCG PC Client Platform Firmware Profile, 10). */
export interface TcgEvent {
  /** The register it extends: 0 to 3 for RTMR0 to RTMR3. */
  readonly imr: number;
  readonly eventType: number;
  readonly digest: Hash48;
  /** The event data of the log. It describes; only the digest is measured. */
  readonly data: Uint8Array;
  /** What the event is about, for messages. */
  readonly label: string;
}

/** A register that starts at zero, after these digests: `R = SHA-384(R ‖ digest)` for each. */
export function replayRtmr(events: readonly { readonly digest: Uint8Array }[]): Hash48 {
  let register = hash48(new Uint8Array(48));
  for (const { digest } of events) register = sha384(concatBytes(register, hash48(digest, "event digest")));
  return register;
}

/** The event that measures these bytes. */
export function measuredBytes(
  imr: number,
  type: number,
  label: string,
  measured: Uint8Array,
  data: Uint8Array,
): TcgEvent {
  return { imr, eventType: type, digest: sha384(measured), data, label };
}

/** The end of one phase of the boot. */
export function separator(imr: number): TcgEvent {
  const zeros = new Uint8Array(4);
  return measuredBytes(imr, eventType.separator, "separator", zeros, zeros);
}
