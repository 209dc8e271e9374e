/** Valid inputs that need nothing recorded. */
import { attestationFromQuote, encodeEventLogJson, newRuntimeEvent, runtimeEntries } from "@dstack/attest";
import type { Attestation, RuntimeEvent } from "@dstack/attest";
import { utf8 } from "@dstack/bytes";
import { forge, goodScene, goodSgxScene, tdReport } from "../../forge/forged-evidence.ts";
import type { Forged } from "../../forge/forged-evidence.ts";

export const good: Forged = forge(goodScene());

/** Versions 3, 4 and 5, TDX 1.0, 1.5 and SGX. */
export function goodQuotes(): Uint8Array[] {
  const v5 = goodScene();
  v5.version = 5;
  const td15 = { ...v5, bodyType: 3, body: tdReport(648) };
  const sgx = goodSgxScene();
  return [good.quote, forge(v5).quote, forge(td15).quote, forge(sgx).quote, forge({ ...sgx, version: 5 }).quote];
}

export const bootEvents = (): RuntimeEvent[] => [
  newRuntimeEvent("system-preparing", new Uint8Array(0)),
  newRuntimeEvent("app-id", new Uint8Array(20).fill(1)),
  newRuntimeEvent("compose-hash", new Uint8Array(32).fill(2)),
  newRuntimeEvent("instance-id", new Uint8Array(20).fill(3)),
  newRuntimeEvent("boot-mr-done", new Uint8Array(0)),
  newRuntimeEvent("key-provider", utf8('{"name":"kms","id":"00"}')),
  newRuntimeEvent("system-ready", new Uint8Array(0)),
  newRuntimeEvent("app-id", new Uint8Array(20).fill(9)),
];

/** With a quote short enough that most edits fall elsewhere. */
export function smallAttestation(): Attestation {
  const log = encodeEventLogJson([
    { imr: 0, eventType: 10, digest: new Uint8Array(48).fill(7), event: "", eventPayload: utf8("ACPI DATA") },
    { imr: 1, eventType: 0x8000_0003, digest: new Uint8Array(48).fill(8), event: "", eventPayload: new Uint8Array(12) },
    ...runtimeEntries(bootEvents()),
  ]);
  const whole = attestationFromQuote(good.quote, log, '{"cpu_count":2,"os_image_hash":""}');
  return { ...whole, platform: { ...whole.platform, quote: good.quote.subarray(0, 64) } };
}
