import { equalBytes, toHex } from "@dstack/bytes";
import type { EventLogEntry } from "@dstack/attest";
import type { RegisterDifference, TcgEvent, VmMeasurement } from "@dstack/measure";
import type { EventDebug, RegisterDebug } from "./verification-response.ts";

/** For each register that differs: the events that were expected beside those of the log, which nobody vouches for. */
export function registerDebug(
  expected: VmMeasurement,
  differences: readonly RegisterDifference[],
  log: readonly EventLogEntry[],
): readonly RegisterDebug[] {
  const events: Readonly<Record<string, readonly TcgEvent[]>> = {
    RTMR0: expected.events.imr0,
    RTMR1: expected.events.imr1,
    RTMR2: expected.events.imr2,
  };
  return differences.map(({ register, expected: want, got }) => ({
    rtmr: register,
    expected: want,
    actual: got,
    events:
      register === "MRTD"
        ? []
        : sideBySide(
            events[register] ?? [],
            log.filter(({ imr }) => `RTMR${imr}` === register),
          ),
  }));
}

function sideBySide(expected: readonly TcgEvent[], logged: readonly EventLogEntry[]): EventDebug[] {
  return Array.from({ length: Math.max(expected.length, logged.length) }, (_, index) => {
    const want = expected[index];
    const have = logged[index];
    return {
      index,
      event_type: have?.eventType ?? want?.eventType ?? 0,
      event_name: want?.label ?? have?.event ?? "",
      actual_digest: have === undefined ? "" : toHex(have.digest),
      ...(want === undefined ? {} : { expected_digest: toHex(want.digest) }),
      payload_len: have?.eventPayload.length ?? 0,
      status:
        have === undefined
          ? "missing"
          : want === undefined
            ? "extra"
            : equalBytes(have.digest, want.digest)
              ? "match"
              : "mismatch",
    };
  });
}
