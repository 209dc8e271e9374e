/**
 * QEMU writes the load addresses into the kernel's setup header before the firmware sees
 * the file, so the measured kernel is not the file on disk (Linux boot protocol,
 * Documentation/arch/x86/boot.rst; QEMU's x86_load_linux).
 */
import { readU16LE, readU32LE, utf8, equalBytes } from "@dstack/bytes";
import { MeasureError } from "./errors.ts";
import { lowMemoryBytes } from "./machine.ts";

const MIN_KERNEL_BYTES = 4096;
const MAX_KERNEL_BYTES = 256 * 2 ** 20;
const PROTOCOL = 0x206;
const LOAD_FLAGS = 0x211;
const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const LOADER_TYPE_QEMU = 0xb0;
/** Space below the end of memory that QEMU keeps for ACPI data. */
const ACPI_DATA_BYTES = 0x2_8000;
const OLD_INITRD_MAX = 0x37ff_ffff;
const XLF_CAN_BE_LOADED_ABOVE_4G_MASK = 0x40;

/**
 * A copy of the kernel with the header fields that QEMU sets. The kernel's command line is
 * not among them; the initrd's size is.
 *
 * @param kernel a bzImage
 * @throws MeasureError `kernel-invalid`, or `unsupported` when kernel and initrd do not fit into memory
 */
export function patchKernelHeader(kernel: Uint8Array, initrdBytes: number, memoryBytes: number): Uint8Array {
  if (kernel.length < MIN_KERNEL_BYTES || kernel.length > MAX_KERNEL_BYTES) {
    throw new MeasureError("kernel-invalid", `kernel: expected ${MIN_KERNEL_BYTES} to ${MAX_KERNEL_BYTES} bytes, got ${kernel.length}`);
  }
  if (!equalBytes(kernel.subarray(0x202, 0x206), utf8("HdrS"))) {
    throw new MeasureError("kernel-invalid", "kernel: expected a bzImage with the setup header signature HdrS at 0x202");
  }
  const patched = kernel.slice();
  const view = new DataView(patched.buffer);
  const protocol = readU16LE(kernel, PROTOCOL);
  const loadFlags = view.getUint8(LOAD_FLAGS);
  const loadedLow = protocol < 0x200 || (loadFlags & LOADED_HIGH) === 0;
  const [real, commandLine] = loadedLow ? [0x9_0000, 0x9_a000] : [0x1_0000, 0x2_0000];

  if (protocol >= 0x200) view.setUint8(0x210, LOADER_TYPE_QEMU);
  if (protocol >= 0x201) {
    view.setUint8(LOAD_FLAGS, loadFlags | CAN_USE_HEAP);
    view.setUint32(0x224, commandLine - real - 0x200, true);
  }
  if (protocol >= 0x202) {
    view.setUint32(0x228, commandLine, true);
  } else {
    view.setUint16(0x20, 0xa33f, true);
    view.setUint16(0x22, commandLine - real, true);
  }
  if (initrdBytes > 0 && protocol >= 0x200) {
    view.setUint32(0x218, initrdAddress(kernel, protocol, initrdBytes, memoryBytes), true);
    view.setUint32(0x21c, initrdBytes, true);
  }
  return patched;
}

/** As high as the kernel allows below the ACPI data, on a page. */
function initrdAddress(kernel: Uint8Array, protocol: number, initrdBytes: number, memoryBytes: number): number {
  const available = lowMemoryBytes(memoryBytes) - ACPI_DATA_BYTES;
  if (available < 0) throw new MeasureError("unsupported", `memory_size: ${memoryBytes} bytes are too few to boot a kernel`);
  const allowed = initrdLimit(kernel, protocol);
  const limit = allowed >= available ? available - 1 : allowed;
  if (initrdBytes >= limit) {
    throw new MeasureError("unsupported", `initrd: expected fewer than ${limit} bytes, got ${initrdBytes}; give the VM more memory`);
  }
  const address = limit - initrdBytes;
  return address - (address % 4096);
}

function initrdLimit(kernel: Uint8Array, protocol: number): number {
  if (protocol >= 0x20c) {
    return (readU16LE(kernel, 0x236) & XLF_CAN_BE_LOADED_ABOVE_4G_MASK) !== 0 ? 0xffff_ffff : OLD_INITRD_MAX;
  }
  return protocol >= 0x203 ? readU32LE(kernel, 0x22c) || OLD_INITRD_MAX : OLD_INITRD_MAX;
}
