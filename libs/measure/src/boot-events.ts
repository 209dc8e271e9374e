/**
 * The events by which boot manager (RTMR1) and Linux loader (RTMR2) fill their registers,
 * each register's events in order. RTMR0 is in `firmware-events.ts`.
 */
import { concatBytes, parseHex, u32le, u64le, utf8 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { eventType } from "./event-types.ts";
import { guidBytes } from "./guid.ts";
import { measuredBytes, separator } from "./rtmr.ts";
import type { TcgEvent } from "./rtmr.ts";
import { utf16le } from "./utf16.ts";

const KERNEL_LOADER_FILES = "1428f772-b64a-441e-b8c3-9ebdd7f893c7";

const LOAD_OPTIONS_TAG = 0x8f3b_22ed;
const INITRD_TAG = 0x8f3b_22ec;

/** What the boot manager appends to the command line of `-append`. */
const INITRD_OPTION = " initrd=initrd";

/**
 * @param kernel Authenticode digest of the kernel as the firmware gets it
 * @param kernelBytes length of that file, for the log; 0 where it is not known
 */
export function rtmr1Events(kernel: Hash48, kernelBytes: number): readonly TcgEvent[] {
  return [
    {
      imr: 1,
      eventType: eventType.efiBootServicesApplication,
      digest: kernel,
      data: imageLoadData(kernelBytes),
      label: "kernel",
    },
    action("Calling EFI Application from Boot Option"),
    separator(1),
    action("Exit Boot Services Invocation"),
    action("Exit Boot Services Returned with Success"),
  ];
}

/**
 * @param loadOptionsDigest SHA-384 of `loadOptions`
 * @param initrdDigest SHA-384 of the initrd
 */
export function rtmr2Events(loadOptionsDigest: Hash48, initrdDigest: Hash48): readonly TcgEvent[] {
  return [
    tagged("kernel command line", loadOptionsDigest, LOAD_OPTIONS_TAG, "LOADED_IMAGE::LoadOptions"),
    tagged("initrd", initrdDigest, INITRD_TAG, "Linux initrd"),
  ];
}

/**
 * The command line as the kernel's EFI stub gets it and the loader measures it.
 * @param cmdline as given to `-append`
 */
export const loadOptions = (cmdline: string): Uint8Array => utf16le(`${cmdline}${INITRD_OPTION}\0`);

function action(text: string): TcgEvent {
  return measuredBytes(1, eventType.efiAction, text, utf8(text), utf8(text));
}

/**
 * UEFI_IMAGE_LOAD_EVENT: location, length, link address, device path. Where the firmware
 * loads the kernel depends on its heap, so the location stays 0.
 */
function imageLoadData(kernelBytes: number): Uint8Array {
  const fileName = utf16le("kernel\0");
  const path = concatBytes(
    parseHex("04031400"),
    guidBytes(KERNEL_LOADER_FILES),
    Uint8Array.of(0x04, 0x04, 4 + fileName.length, 0x00),
    fileName,
    parseHex("7fff0400"),
  );
  return concatBytes(u64le(0n), u64le(BigInt(kernelBytes)), u64le(0n), u64le(BigInt(path.length)), path);
}

function tagged(label: string, digest: Hash48, tag: number, text: string): TcgEvent {
  const data = concatBytes(u32le(tag), u32le(text.length + 1), utf8(`${text}\0`));
  return { imr: 2, eventType: eventType.tagged, digest, data, label };
}
