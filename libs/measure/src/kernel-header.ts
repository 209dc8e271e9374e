/**
 * QEMU writes the load addresses into the kernel's setup header before the firmware sees
 * the file, so the measured kernel is not the file on disk (Linux boot protocol,
 * Documentation/arch/x86/boot.rst; QEMU's x86_load_linux).
 */
import { readU16LE, readU32LE, utf8, equalBytes } from "@dstack/bytes";
import { MeasureError } from "./errors.ts";
import { lowMemoryBytes } from "./machine.ts";

const HEAD_BYTES = 64 * 1024;
const MIN_KERNEL_BYTES = 4096;
const MAX_KERNEL_BYTES = 256 * 2 ** 20;
const SIGNATURE = 0x202;
const PROTOCOL = 0x206;
const LOAD_FLAGS = 0x211;
const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const LOADER_TYPE_QEMU = 0xb0;
/** Where QEMU puts the setup code, which ends at its heap, and the command line. */
const REAL_MODE_ADDRESS = 0x1_0000;
const COMMAND_LINE_ADDRESS = 0x2_0000;
/** Space below the end of memory that QEMU keeps for ACPI data. */
const ACPI_DATA_BYTES = 0x2_8000;
const OLD_INITRD_MAX = 0x37ff_ffff;
const CAN_BE_LOADED_ABOVE_4G = 0x02;

/**
 * A copy of the kernel's first 64 KiB with the header fields that QEMU sets; the rest of the
 * kernel stays as it is. The kernel's command line is not among the fields; the initrd's size is.
 *
 * @param kernel a bzImage of boot protocol 2.02 or newer, as every kernel with an EFI stub is
 * @throws MeasureError `kernel-invalid`, or `unsupported` when kernel and initrd do not fit into memory
 */
export function patchedKernelHead(kernel: Uint8Array, initrdBytes: number, memoryBytes: number): Uint8Array {
  check(
    kernel.length >= MIN_KERNEL_BYTES && kernel.length <= MAX_KERNEL_BYTES,
    `${MIN_KERNEL_BYTES} to ${MAX_KERNEL_BYTES} bytes`,
    `${kernel.length}`,
  );
  const signature = kernel.subarray(SIGNATURE, SIGNATURE + 4);
  check(equalBytes(signature, utf8("HdrS")), "a bzImage with the signature HdrS at 0x202", "other bytes");
  const protocol = readU16LE(kernel, PROTOCOL);
  check(protocol >= 0x202, "boot protocol 0x202 or newer", `0x${protocol.toString(16)}`);
  // Not slice(): a Buffer shares its memory with its slices.
  const patched = new Uint8Array(kernel.subarray(0, HEAD_BYTES));
  const view = new DataView(patched.buffer);
  const loadFlags = view.getUint8(LOAD_FLAGS);
  check((loadFlags & LOADED_HIGH) !== 0, "a bzImage, loaded at 1 MiB", "a zImage");

  view.setUint8(0x210, LOADER_TYPE_QEMU);
  view.setUint8(LOAD_FLAGS, loadFlags | CAN_USE_HEAP);
  view.setUint32(0x224, COMMAND_LINE_ADDRESS - REAL_MODE_ADDRESS - 0x200, true);
  view.setUint32(0x228, COMMAND_LINE_ADDRESS, true);
  if (initrdBytes > 0) {
    view.setUint32(0x218, initrdAddress(kernel, protocol, initrdBytes, memoryBytes), true);
    view.setUint32(0x21c, initrdBytes, true);
  }
  return patched;
}

/** As high as the kernel allows below the ACPI data, on a page. */
function initrdAddress(kernel: Uint8Array, protocol: number, initrdBytes: number, memoryBytes: number): number {
  const available = lowMemoryBytes(memoryBytes) - ACPI_DATA_BYTES;
  if (available < 0)
    throw new MeasureError("unsupported", `memory_size: ${memoryBytes} bytes are too few to boot a kernel`);
  const allowed = initrdLimit(kernel, protocol);
  const limit = allowed >= available ? available - 1 : allowed;
  if (initrdBytes >= limit) {
    throw new MeasureError(
      "unsupported",
      `initrd: expected fewer than ${limit} bytes, got ${initrdBytes}; give the VM more memory`,
    );
  }
  const address = limit - initrdBytes;
  return address - (address % 4096);
}

/**
 * As QEMU reads the header. Some verifiers test bit 6 instead; kernels since 4.14 that set
 * either set both.
 */
function initrdLimit(kernel: Uint8Array, protocol: number): number {
  if (protocol >= 0x20c && (readU16LE(kernel, 0x236) & CAN_BE_LOADED_ABOVE_4G) !== 0) return 0xffff_ffff;
  return protocol >= 0x203 ? readU32LE(kernel, 0x22c) : OLD_INITRD_MAX;
}

function check(holds: boolean, expected: string, got: string): asserts holds {
  if (!holds) throw new MeasureError("kernel-invalid", `kernel: expected ${expected}, got ${got}`);
}
