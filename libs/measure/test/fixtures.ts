/** Small files of the right form, so that tests need no guest image. */
import { concatBytes, u16le, u32le, u64le, utf8 } from "@dstack/bytes";
import { guidBytes } from "../src/guid.ts";
import { parseVmConfig } from "../src/vm-config.ts";
import type { VmConfig } from "../src/vm-config.ts";

export interface SectionFixture {
  offset: number;
  raw: number;
  address: bigint;
  memory: bigint;
  type: number;
  attributes: number;
}

const volume: SectionFixture = {
  offset: 0x84000,
  raw: 0x2000,
  address: 0xffff_e000n,
  memory: 0x2000n,
  type: 0,
  attributes: 1,
};
const configuration: SectionFixture = {
  offset: 0,
  raw: 0x84000,
  address: 0xffc0_0000n,
  memory: 0x84000n,
  type: 1,
  attributes: 0,
};
const memoryOnly = (address: bigint, memory: bigint, type: number): SectionFixture => ({
  offset: 0,
  raw: 0,
  address,
  memory,
  type,
  attributes: 0,
});

/** The memory layout of the firmware that the recorded TD HOBs come from. */
export const sections: readonly SectionFixture[] = [
  volume,
  configuration,
  memoryOnly(0x81_0000n, 0x1_0000n, 3),
  memoryOnly(0x80_b000n, 0x2000n, 3),
  memoryOnly(0x80_9000n, 0x2000n, 2),
  memoryOnly(0x80_0000n, 0x6000n, 3),
];

export interface FirmwareFixture {
  sections?: readonly SectionFixture[];
  /** Overrides of the descriptor's fields. */
  signature?: string;
  version?: number;
  length?: number;
  count?: number;
  /** Entries after the TDVF entry in the GUIDed table, which a reader meets first. */
  entries?: Uint8Array;
  tdvfGuid?: string;
}

export function firmwareFixture(fixture: FirmwareFixture = {}): Uint8Array {
  const listed = fixture.sections ?? sections;
  const contents = Uint8Array.from({ length: 0x86000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  const descriptor = concatBytes(
    utf8(fixture.signature ?? "TDVF"),
    u32le(fixture.length ?? 16 + 32 * listed.length),
    u32le(fixture.version ?? 1),
    u32le(fixture.count ?? listed.length),
    ...listed.map((s) =>
      concatBytes(u32le(s.offset), u32le(s.raw), u64le(s.address), u64le(s.memory), u32le(s.type), u32le(s.attributes)),
    ),
  );
  const entries = fixture.entries ?? new Uint8Array(0);
  const distance = descriptor.length + 22 + entries.length + 18 + 32;
  const table = concatBytes(
    guidEntry(u32le(distance), fixture.tdvfGuid ?? "e47a6535-984a-4798-865e-4685a7bf8ec2"),
    entries,
  );
  return concatBytes(
    contents,
    descriptor,
    table,
    u16le(table.length),
    guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d"),
    new Uint8Array(32),
  );
}

export const guidEntry = (data: Uint8Array, guid: string): Uint8Array =>
  concatBytes(data, u16le(data.length + 18), guidBytes(guid));

export interface KernelFixture {
  protocol?: number;
  loadFlags?: number;
  extraLoadFlags?: number;
  initrdMax?: number;
  /** Bytes of a certificate table at the end. */
  certificate?: number;
  trailing?: number;
  magic?: number;
}

/** A bzImage that is a PE image too: setup header at 0x1f1, PE header at 0x80, two sections. */
export function kernelFixture(fixture: KernelFixture = {}): Uint8Array {
  const { certificate = 0, trailing = 0, magic = 0x20b } = fixture;
  const body = 0x3000;
  const kernel = Uint8Array.from({ length: body + trailing + certificate }, (_, i) => (i * 7 + 3) & 0xff);
  const view = new DataView(kernel.buffer);
  kernel.fill(0, 0, 0x400);
  view.setUint32(0x3c, 0x80, true);
  kernel.set(utf8("PE\0\0"), 0x80);
  view.setUint16(0x86, 2, true);
  view.setUint16(0x94, 0xa0, true);
  const optional = 0x98;
  view.setUint16(optional, magic, true);
  view.setUint32(optional + 60, 0x400, true);
  view.setUint32(optional + 64, 0x1234_5678, true);
  const certificateEntry = optional + (magic === 0x20b ? 144 : 128);
  view.setUint32(certificateEntry, certificate > 0 ? body + trailing : 0, true);
  view.setUint32(certificateEntry + 4, certificate, true);
  const table = optional + 0xa0;
  for (const [i, [size, pointer]] of [
    [0x2000, 0x1000],
    [0xc00, 0x400],
  ].entries()) {
    view.setUint32(table + 40 * i + 16, size!, true);
    view.setUint32(table + 40 * i + 20, pointer!, true);
  }
  kernel.set(utf8("HdrS"), 0x202);
  view.setUint16(0x206, fixture.protocol ?? 0x20f, true);
  view.setUint8(0x211, fixture.loadFlags ?? 1);
  view.setUint32(0x22c, fixture.initrdMax ?? 0x7fff_ffff, true);
  view.setUint16(0x236, fixture.extraLoadFlags ?? 0x7f, true);
  return kernel;
}

export const files = () => ({
  firmware: firmwareFixture(),
  kernel: kernelFixture(),
  initrd: Uint8Array.from({ length: 5000 }, (_, i) => (i * 13) & 0xff),
  cmdline: "console=ttyS0 init=/init panic=1",
});

export const vmConfig = (change: Record<string, unknown> = {}): VmConfig =>
  parseVmConfig(
    JSON.stringify({ spec_version: 1, cpu_count: 2, memory_size: 2 ** 31, qemu_version: "10.0.2", ...change }),
  );
