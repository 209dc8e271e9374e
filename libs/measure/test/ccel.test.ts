import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hash48, parseHex, readU32LE, toHex } from "@dstack/bytes";
import { buildCcel, inBootOrder } from "../src/ccel.ts";
import { measureVm } from "../src/measure-vm.ts";
import { replayRtmr } from "../src/rtmr.ts";
import type { TcgEvent } from "../src/rtmr.ts";
import { files, vmConfig } from "./fixtures.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

/** A reader of the format, for SHA-384 alone. */
function read(area: Uint8Array): { imr: number; eventType: number; digest: Uint8Array; data: Uint8Array }[] {
  const events = [];
  let at = 32 + readU32LE(area, 28);
  while (readU32LE(area, at) !== 0xffff_ffff) {
    assert.equal(readU32LE(area, at + 8), 1);
    const length = readU32LE(area, at + 62);
    events.push({
      imr: readU32LE(area, at) - 1,
      eventType: readU32LE(area, at + 4),
      digest: area.slice(at + 14, at + 62),
      data: area.slice(at + 66, at + 66 + length),
    });
    at += 66 + length;
  }
  return events;
}

describe("buildCcel", () => {
  const measured = measureVm(files(), vmConfig());
  it("gives a log that a reader replays to the measured registers", () => {
    const events = read(buildCcel(measured.events));
    assert.equal(events.length, 20);
    for (const [imr, register] of [measured.rtmr0, measured.rtmr1, measured.rtmr2].entries()) {
      assert.deepEqual(replayRtmr(events.filter((event) => event.imr === imr)), register);
    }
  });
  it("keeps every event and the order within each register", () => {
    const { imr0, imr1, imr2 } = measured.events;
    const ordered = inBootOrder(measured.events);
    assert.deepEqual(
      [0, 1, 2].map((imr) => ordered.filter((event) => event.imr === imr)),
      [imr0, imr1, imr2],
    );
  });
  it("interleaves them as a boot does", () => {
    assert.deepEqual(
      inBootOrder(measured.events)
        .map(({ label }) => label)
        .slice(8),
      [
        "etc/table-loader",
        "etc/acpi/rsdp",
        "etc/acpi/tables",
        "kernel",
        "variable BootOrder",
        "variable Boot0000",
        "Calling EFI Application from Boot Option",
        "separator",
        "kernel command line",
        "initrd",
        "Exit Boot Services Invocation",
        "Exit Boot Services Returned with Success",
      ],
    );
  });
  it("is 64 KiB, the rest filled with 0xff", () => {
    const area = buildCcel(measured.events);
    assert.equal(area.length, 65_536);
    assert.equal(area.at(-1), 0xff);
  });
  vectorTest("writes a log of the vectors again, byte for byte", "attestation/ccel", ({ bytes, json }) => {
    const recorded = json<{
      events: { imr: number; event_type: number; digest: string; event_payload: string }[];
    }>("attestation/ccel/ccel.expected.json");
    const events: TcgEvent[] = recorded.events.map((event) => ({
      imr: event.imr,
      eventType: event.event_type,
      digest: hash48(parseHex(event.digest)),
      data: parseHex(event.event_payload),
      label: "",
    }));
    const of = (imr: number) => events.filter((event) => event.imr === imr);
    const area = buildCcel({ imr0: of(0), imr1: of(1), imr2: of(2) });
    assert.equal(toHex(area), toHex(bytes("attestation/ccel/ccel.bin")));
  });
});
