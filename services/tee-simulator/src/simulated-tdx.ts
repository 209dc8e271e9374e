/**
 * A simulated TDX guest behind the kernel's interfaces: configfs-tsm reports, TSM measurements.
 * Launch measurements come from the host's configuration; RTMR2 and 3 are extended by the guest.
 */
import { extendRegister } from "@dstack/attest";
import { hash48, reportData, utf8 } from "@dstack/bytes";
import type { Hash48, ReportData } from "@dstack/bytes";
import { FuseErrno } from "./fuse/protocol.ts";
import { folder } from "./fuse/tree.ts";
import type { SimulatedFile, SimulatedFolder } from "./fuse/tree.ts";
import type { MockPlatform } from "./mock-pki.ts";
import { signMockQuote } from "./mock-quote.ts";
import type { TdMeasurements } from "./mock-quote.ts";

/** Root of the simulated tree: `report/com.intel.dcap/...` and `measurements/...`. */
export function simulatedTdx(platform: MockPlatform, launch: TdMeasurements): SimulatedFolder {
  const registers: [Hash48, Hash48, Hash48, Hash48] = [...launch.rtmr];
  const measurements = (): TdMeasurements => ({ ...launch, rtmr: registers });
  return folder({
    report: folder({ "com.intel.dcap": reportFolder((data) => signMockQuote(platform, measurements(), data)) }),
    measurements: folder({
      "mrtd:sha384": fixed(launch.mrTd),
      mrconfigid: fixed(launch.mrConfigId),
      "rtmr0:sha384": register(registers, 0),
      "rtmr1:sha384": register(registers, 1),
      "rtmr2:sha384": register(registers, 2),
      "rtmr3:sha384": register(registers, 3),
    }),
  });
}

function register(registers: [Hash48, Hash48, Hash48, Hash48], index: 0 | 1 | 2 | 3): SimulatedFile {
  const read = (): Uint8Array => registers[index];
  if (index < 2) return { kind: "file", mode: 0o444, read };
  return {
    kind: "file",
    mode: 0o644,
    read,
    write: (offset, bytes) => {
      if (offset !== 0 || bytes.length !== 48) throw new FuseErrno("EINVAL");
      registers[index] = extendRegister(registers[index], hash48(bytes));
    },
  };
}

/** As the kernel: the quote is made on the first read after `inblob` changed, over exactly 64 bytes. */
function reportFolder(quoteOver: (data: ReportData) => Uint8Array): SimulatedFolder {
  let generation = 0n;
  let input: Uint8Array | undefined;
  let quote: { readonly of: bigint; readonly bytes: Uint8Array } | undefined;
  return folder({
    provider: fixed(utf8("tdx_guest\n")),
    generation: { kind: "file", mode: 0o444, read: () => utf8(`${generation}\n`) },
    inblob: {
      kind: "file",
      mode: 0o200,
      commit: {
        maxBytes: 64,
        apply: (bytes) => {
          input = bytes.slice();
          generation++;
        },
      },
    },
    outblob: {
      kind: "file",
      mode: 0o400,
      read: () => {
        if (input?.length !== 64) throw new FuseErrno("EINVAL");
        if (quote?.of !== generation) quote = { of: generation, bytes: quoteOver(reportData(input)) };
        return quote.bytes;
      },
    },
  });
}

const fixed = (bytes: Uint8Array): SimulatedFile => ({ kind: "file", mode: 0o444, read: () => bytes });
