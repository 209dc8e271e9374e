/**
 * Runtime events: what the guest extends into RTMR3 while it boots and runs.
 *
 * V1 digest = SHA-384(u32le(type) ":" name ":" payload)
 * V2 digest = SHA-384 of the canonical JSON {"name":...,"payload":"<hex>","type":134217729}
 */
import { BOOT_EVENT } from "./boot-event-names.ts";
import { concatBytes, hash48, toHex, u32le, utf8 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { sha384 } from "#sha2";
import { AttestError } from "./errors.ts";

/** Event type of every runtime event (the range that TCG leaves to others). */
export const RUNTIME_EVENT_TYPE = 0x08000001;
/** The register that runtime events go to. */
export const RUNTIME_RTMR = 3;

export interface RuntimeEvent {
  readonly event: string;
  readonly payload: Uint8Array;
  /** Digest form; absent means 1. */
  readonly version?: 1 | 2;
}

/** What the digest of an event covers. */
export function eventPreimage(event: RuntimeEvent): Uint8Array {
  return event.version === 2 ? preimageV2(event) : preimageV1(event);
}

export const eventDigest = (event: RuntimeEvent): Hash48 => hash48(sha384(eventPreimage(event)));

/** Digest V1 of a name and a payload. */
export const eventDigestV1 = (event: string, payload: Uint8Array): Hash48 => eventDigest({ event, payload });
/** Digest V2 of a name and a payload. */
export const eventDigestV2 = (event: string, payload: Uint8Array): Hash48 =>
  eventDigest({ event, payload, version: 2 });

/**
 * Whether the digest of an event of this name stands for it alone: with a ":" in it, `a:b` and
 * payload `c` share their V1 digest with `a` and payload `b:c`. Control characters and over-long
 * names would deceive readers of the log.
 */
export const isEventName = (name: string): boolean => /^[^\p{C}:]{1,128}$/u.test(name);

/**
 * A new event, fit to be emitted.
 * @throws AttestError `event-invalid` for an empty or over-long name, one with ":" (the V1 digest of `a`+`b:c`
 *   equals that of `a:b`+`c`) or control characters, or a payload above 1 MiB
 */
export function newRuntimeEvent(event: string, payload: Uint8Array, version: 1 | 2 = 1): RuntimeEvent {
  if (!isEventName(event)) {
    throw new AttestError(
      "event-invalid",
      "event name: expected 1 to 128 characters without ':' and control characters",
    );
  }
  if (payload.length > 1024 * 1024) {
    throw new AttestError("event-invalid", `event ${event}: payload of ${payload.length} bytes, limit 1 MiB`);
  }
  return version === 2 ? { event, payload, version } : { event, payload };
}

/** One extension: SHA-384(register, digest). */
export function extendRegister(register: Hash48, digest: Hash48): Hash48 {
  return hash48(sha384(concatBytes(register, digest)));
}

/** The value of a register after these digests, from 48 zero bytes. */
export function replayDigests(digests: Iterable<Hash48>): Hash48 {
  const block = new Uint8Array(96);
  for (const digest of digests) {
    block.set(digest, 48);
    block.set(sha384(block));
  }
  return hash48(block.slice(0, 48));
}

/** RTMR3 after these events; each digest is computed from the event itself. */
export function replayRtmr3(events: readonly RuntimeEvent[]): Hash48 {
  return replayDigests(events.map(eventDigest));
}

/** The events up to and including `boot-mr-done`: what "boot-time" values look at. All, where it is absent. */
export function eventsUntilBootDone(events: readonly RuntimeEvent[]): readonly RuntimeEvent[] {
  const end = events.findIndex((event) => event.event === BOOT_EVENT.bootMrDone);
  return end < 0 ? events : events.slice(0, end + 1);
}

const PREFIX = u32le(RUNTIME_EVENT_TYPE);

function preimageV1({ event, payload }: RuntimeEvent): Uint8Array {
  const name = utf8(`:${event}:`);
  const out = new Uint8Array(PREFIX.length + name.length + payload.length);
  out.set(PREFIX);
  out.set(name, PREFIX.length);
  out.set(payload, PREFIX.length + name.length);
  return out;
}

// RFC 8785 escapes a string as JSON.stringify does, and the three names are already in its order.
function preimageV2({ event, payload }: RuntimeEvent): Uint8Array {
  return utf8(`{"name":${JSON.stringify(event)},"payload":"${toHex(payload)}","type":${RUNTIME_EVENT_TYPE}}`);
}
