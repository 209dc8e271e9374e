/**
 * The firmware's event log in the form of the CCEL area (TCG PC Client Platform Firmware
 * Profile, 10, with SHA-384 as its only algorithm):
 *
 *   header  u32 1, u32 type 3, 20 zero bytes, u32 length, "Spec ID Event03\0" ...
 *   event   u32 register + 1, u32 type, u32 1, u16 0x0c, 48 bytes, u32 length, data
 *
 * Readers stop at a register number of 0xffffffff; the rest of the area is 0xff.
 */
import { concatBytes, u16le, u32le, utf8 } from "@dstack/bytes";
import { eventType } from "./event-types.ts";
import type { BootEvents } from "./measure-vm.ts";
import type { TcgEvent } from "./rtmr.ts";

const AREA_BYTES = 64 * 1024;
const TPM_ALG_SHA384 = 0x0c;

/** The event log as the guest finds it in /sys/firmware/acpi/tables/data/CCEL: 64 KiB. */
export function buildCcel(events: BootEvents): Uint8Array {
  const log = concatBytes(header(), ...inBootOrder(events).map(record));
  const area = new Uint8Array(AREA_BYTES).fill(0xff);
  area.set(log);
  return area;
}

/**
 * The registers' events as one boot interleaves them: firmware up to the ACPI tables,
 * the kernel image, the boot variables, the start of the kernel, its command line and
 * initrd, the end of boot services.
 */
export function inBootOrder({ imr0, imr1, imr2 }: BootEvents): readonly TcgEvent[] {
  const bootVariables = imr0.findIndex((event) => event.eventType === eventType.efiVariableBoot);
  const exit = imr1.findIndex((event) => event.eventType === eventType.separator) + 1;
  return [
    ...imr0.slice(0, bootVariables),
    ...imr1.slice(0, 1),
    ...imr0.slice(bootVariables),
    ...imr1.slice(1, exit),
    ...imr2,
    ...imr1.slice(exit),
  ];
}

function header(): Uint8Array {
  const platformClass = 0;
  const minorMajorErrataUintn = [0, 2, 0, 2];
  const data = concatBytes(
    utf8("Spec ID Event03\0"),
    u32le(platformClass),
    Uint8Array.from(minorMajorErrataUintn),
    u32le(1),
    u16le(TPM_ALG_SHA384),
    u16le(48),
    Uint8Array.of(0),
  );
  return concatBytes(u32le(1), u32le(eventType.noAction), new Uint8Array(20), u32le(data.length), data);
}

const record = (event: TcgEvent): Uint8Array =>
  concatBytes(
    u32le(event.imr + 1),
    u32le(event.eventType),
    u32le(1),
    u16le(TPM_ALG_SHA384),
    event.digest,
    u32le(event.data.length),
    event.data,
  );
