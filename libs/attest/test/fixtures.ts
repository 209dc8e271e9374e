import assert from "node:assert/strict";
import { concatBytes, hash48, reportData, u16le, u32le, utf8, type Hash48, type ReportData } from "@dstack/bytes";
import {
  AttestError,
  replayRtmr3,
  runtimeEntries,
  type Attestation,
  type AttestErrorCode,
  type QuoteVerification,
  type RuntimeEvent,
} from "@dstack/attest";

export const none = new Uint8Array(0);
export const event = (name: string, payload: Uint8Array = none): RuntimeEvent => ({ event: name, payload });

/** A boot up to `boot-mr-done`. */
export const boot: readonly RuntimeEvent[] = [
  event("system-preparing"),
  event("app-id", new Uint8Array(20).fill(1)),
  event("compose-hash", new Uint8Array(32).fill(2)),
  event("instance-id", new Uint8Array(20).fill(3)),
  event("boot-mr-done"),
];

/** Asserts that `run` is refused with this code, and gives the text. */
export function refuses(code: AttestErrorCode, run: () => unknown, what?: string): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof AttestError, `${what ?? ""}: ${String(error)}`);
    assert.equal(error.code, code, `${what ?? ""}: ${error.message}`);
    return error.message;
  }
  return assert.fail(`${what ?? "input"} was accepted, expected ${code}`);
}

export interface TdFields {
  readonly rtmr3: Hash48;
  readonly reportData?: ReportData;
  readonly mrConfigId?: Hash48;
  /** RTMR0 to 2; 48 times 0, 1 and 2 unless given. */
  readonly firmware?: readonly Uint8Array[];
}

/** A version 4 TDX quote in the right form whose signatures hold nothing. */
export function unsignedQuote(fields: TdFields): Uint8Array {
  const header = concatBytes(u16le(4), u16le(2), u32le(0x81), new Uint8Array(40));
  const registers = fields.firmware ?? [0, 1, 2].map((byte) => new Uint8Array(48).fill(byte));
  const body = concatBytes(
    new Uint8Array(184),
    fields.mrConfigId ?? new Uint8Array(48),
    new Uint8Array(96),
    ...registers,
    fields.rtmr3,
    fields.reportData ?? new Uint8Array(64),
  );
  const inner = concatBytes(new Uint8Array(384 + 64), u16le(0), u16le(5), u32le(1), utf8("-"));
  const authentication = concatBytes(new Uint8Array(128), u16le(6), u32le(inner.length), inner);
  return concatBytes(header, body, u32le(authentication.length), authentication);
}

/** An attestation of these events whose parts fit each other. */
export function attestationOf(events: readonly RuntimeEvent[], fields: Partial<TdFields> = {}): Attestation {
  const quoted = fields.reportData ?? reportData(new Uint8Array(64).fill(9));
  return {
    platform: {
      kind: "tdx",
      quote: unsignedQuote({ rtmr3: replayRtmr3(events), reportData: quoted, ...fields }),
      eventLog: runtimeEntries(events),
    },
    runtimeEvents: events,
    reportData: quoted,
    config: '{"cpu_count":1}',
  };
}

/** What the quote's own verification would have said. */
export const verified = { ok: true, checks: [], ppid: new Uint8Array(16).fill(5) } as unknown as QuoteVerification;

export const register = (byte: number): Hash48 => hash48(new Uint8Array(48).fill(byte));

/** One event of a CCEL as the firmware writes it; `imr` counts from 1. */
export function ccelEvent(imr: number, eventType: number, digest: Uint8Array, data: Uint8Array): Uint8Array {
  return concatBytes(u32le(imr), u32le(eventType), u32le(1), u16le(0x0c), digest, u32le(data.length), data);
}

/** The first event of a CCEL, up to its vendor bytes. */
export const ccelHeader: Uint8Array = concatBytes(
  u32le(1),
  u32le(3),
  new Uint8Array(20),
  u32le(33),
  utf8("Spec ID Event03\0"),
  new Uint8Array(8),
  u32le(1),
  u16le(0x0c),
  u16le(48),
  Uint8Array.of(0),
);
