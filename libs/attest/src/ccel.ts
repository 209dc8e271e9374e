/**
 * CCEL: the boot event log of the firmware (ACPI table data, TCG2 crypto agile form).
 *
 * first event = u32 imr, u32 type 3, 20 zero bytes, u32 length, "Spec ID Event03" block
 * event       = u32 imr (from 1), u32 type, u32 digest count, count x (u16 algorithm, digest),
 *               u32 length, data
 * Ends at imr 0xffffffff or at the end of the area, whose rest is 0xff.
 */
import { equalBytes, isAllZero, utf8 } from "@dstack/bytes";
import { Cursor } from "./cursor.ts";
import { nameAcpiEvents } from "./event-log.ts";
import type { EventLogEntry } from "./event-log.ts";
import { AttestError } from "./errors.ts";

const SHA384 = 0x0c;
const END = 0xffff_ffff;
const MAX_CCEL_BYTES = 4 * 1024 * 1024;
const MAX_DATA_BYTES = 1024 * 1024;
const SIGNATURE = utf8("Spec ID Event03\0");
const DIGEST_SIZES: ReadonlyMap<number, number> = new Map([
  [0x04, 20],
  [0x0b, 32],
  [SHA384, 48],
  [0x0d, 64],
]);

/**
 * Events of RTMR0 to 3 in log order, `imr` counted from 0; the header event is left out. The three
 * ACPI events have their names, as the reference gives them wherever it shows this log.
 * Behind the end marker there may be nothing but more ff.
 * @throws AttestError `ccel-malformed`, also for an event without exactly one SHA-384 digest
 */
export function parseCcel(bytes: Uint8Array): EventLogEntry[] {
  if (bytes.length > MAX_CCEL_BYTES)
    throw new AttestError("ccel-malformed", `CCEL: ${bytes.length} bytes, limit ${MAX_CCEL_BYTES}`);
  const cursor = new Cursor(bytes, "CCEL", "ccel-malformed");
  readHeader(cursor);
  const entries: EventLogEntry[] = [];
  while (cursor.remaining > 0) {
    const imr = cursor.u32("register");
    if (imr === END) {
      if (!cursor.take(cursor.remaining, "rest").every((byte) => byte === 0xff))
        throw cursor.fail("bytes other than ff after the end of the log");
      return nameAcpiEvents(entries);
    }
    const eventType = cursor.u32("event type");
    const digest = readDigest(cursor);
    const eventPayload = cursor.take(dataLength(cursor), "event data");
    // Register 0 stands for the firmware's own measurement (MRTD); no RTMR is extended by it.
    if (imr === 0) continue;
    if (imr > 4) throw cursor.fail(`register ${imr}, expected 1 to 4`);
    entries.push({ imr: imr - 1, eventType, digest, event: "", eventPayload });
  }
  return nameAcpiEvents(entries);
}

function readHeader(cursor: Cursor): void {
  cursor.u32("register of the first event");
  if (cursor.u32("type of the first event") !== 3) throw cursor.fail("first event is not EV_NO_ACTION");
  if (!isAllZero(cursor.take(20, "digest of the first event"))) throw cursor.fail("first event carries a digest");
  const block = new Cursor(cursor.take(dataLength(cursor), "header block"), "CCEL header", "ccel-malformed");
  if (!equalBytes(block.take(16, "signature"), SIGNATURE)) throw block.fail("not a Spec ID Event03 block");
  block.take(8, "platform class and version");
  const algorithms = block.u32("algorithm count");
  if (algorithms === 0 || algorithms > DIGEST_SIZES.size)
    throw block.fail(`${algorithms} algorithms, expected 1 to ${DIGEST_SIZES.size}`);
  for (let i = 0; i < algorithms; i++) {
    const algorithm = block.u16("algorithm");
    const size = block.u16("digest size");
    if (DIGEST_SIZES.get(algorithm) !== size)
      throw block.fail(`algorithm 0x${algorithm.toString(16)} with digests of ${size} bytes`);
  }
  block.take(block.u8("vendor length"), "vendor data");
  block.end();
}

function readDigest(cursor: Cursor): Uint8Array {
  const count = cursor.u32("digest count");
  const algorithm = cursor.u16("digest algorithm");
  if (count !== 1 || algorithm !== SHA384) {
    throw cursor.fail(`${count} digests, the first of algorithm 0x${algorithm.toString(16)}; expected one SHA-384`);
  }
  return cursor.take(48, "digest");
}

function dataLength(cursor: Cursor): number {
  const length = cursor.u32("event data length");
  if (length > MAX_DATA_BYTES) throw cursor.fail(`event data of ${length} bytes, limit ${MAX_DATA_BYTES}`);
  return length;
}
