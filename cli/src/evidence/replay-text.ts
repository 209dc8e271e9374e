import { parseHex } from "@dstack/bytes";
import { table, visible } from "../terminal/output.ts";
import type { Fields } from "./describe.ts";
import { fieldLines } from "./field-lines.ts";
import { textOf } from "./read-evidence.ts";
import type { Replay } from "./replay-event-log.ts";

const SHOWN = 60;

/** A replay for people: the events, the registers, the claims, each check. */
export function replayText(replay: Replay): string {
  const rows = replay.events.map((event) => [
    `RTMR${String(event["imr"])}`,
    String(event["phase"]),
    eventName(event),
    payloadText(event),
  ]);
  const registers = (["rtmr0", "rtmr1", "rtmr2", "rtmr3"] as const).map(
    (name) => `  ${name}  ${replay[name] ?? "unknown: the log lacks digests"}`,
  );
  return [
    `${replay.kind}, ${replay.events.length} events`,
    table(["REGISTER", "PHASE", "EVENT", "PAYLOAD"], rows),
    "",
    "Replayed registers",
    ...registers,
    "",
    "Claims",
    ...(replay.claims === null ? ["  none"] : fieldLines(replay.claims, "  ")),
    "",
    "Checks",
    ...replay.checks.map(
      ({ name, result, reason }) => `  ${result === "fail" ? "FAIL" : result}  ${name}: ${visible(reason)}`,
    ),
  ].join("\n");
}

/** TCG PC Client Platform Firmware Profile, 10.4.1: the types that a confidential VM's firmware logs. */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [4, "EV_SEPARATOR"],
  [5, "EV_ACTION"],
  [6, "EV_EVENT_TAG"],
  [8, "EV_S_CRTM_VERSION"],
  [10, "EV_PLATFORM_CONFIG_FLAGS"],
  [13, "EV_IPL"],
  [0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"],
  [0x8000_0002, "EV_EFI_VARIABLE_BOOT"],
  [0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"],
  [0x8000_0006, "EV_EFI_GPT_EVENT"],
  [0x8000_0007, "EV_EFI_ACTION"],
  [0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"],
  [0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"],
  [0x8000_000b, "EV_EFI_HANDOFF_TABLES2"],
  [0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"],
]);

function eventName(event: Fields): string {
  const name = String(event["event"] ?? "");
  const type = Number(event["event_type"]);
  return name === "" ? (TYPE_NAMES.get(type) ?? `type 0x${type.toString(16)}`) : name;
}

function payloadText(event: Fields): string {
  const hex = String(event["event_payload"] ?? "");
  const text = hex === "" ? undefined : textOf(parseHex(hex));
  const shown = text === undefined ? hex : JSON.stringify(text);
  return shown.length > SHOWN ? `${shown.slice(0, SHOWN)}...` : shown;
}
