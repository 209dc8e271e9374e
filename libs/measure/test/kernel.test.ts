import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { concatBytes } from "@dstack/bytes";
import { authenticodeParts } from "../src/authenticode.ts";
import { MeasureError } from "../src/errors.ts";
import { patchedKernelHead } from "../src/kernel-header.ts";
import { kernelFixture } from "./fixtures.ts";
import type { KernelFixture } from "./fixtures.ts";

const GIB = 2 ** 30;
const header = (fixture: KernelFixture, initrd = 5000, memory = 2 * GIB) => {
  const view = new DataView(patchedKernelHead(kernelFixture(fixture), initrd, memory).buffer);
  return {
    loader: view.getUint8(0x210),
    flags: view.getUint8(0x211),
    heap: view.getUint32(0x224, true),
    cmdline: view.getUint32(0x228, true),
    initrd: view.getUint32(0x218, true),
    initrdBytes: view.getUint32(0x21c, true),
  };
};
const refuses = (run: () => unknown, code: string) => {
  assert.throws(run, (error) => error instanceof MeasureError && error.code === code);
};

describe("patchedKernelHead", () => {
  it("sets loader, heap, command line and initrd of a modern kernel", () => {
    assert.deepEqual(header({}), {
      loader: 0xb0,
      flags: 0x81,
      heap: 0xfe00,
      cmdline: 0x2_0000,
      // 2 GiB minus QEMU's ACPI data minus one, minus the initrd, on a page
      initrd: (0x8000_0000 - 0x2_8000 - 1 - 5000) & ~0xfff,
      initrdBytes: 5000,
    });
  });
  it("leaves the given file alone", () => {
    const kernel = kernelFixture();
    patchedKernelHead(kernel, 5000, 2 * GIB);
    assert.deepEqual(kernel, kernelFixture());
    // A Buffer shares its memory with its slices, and may lie anywhere in it.
    const inside = Buffer.concat([new Uint8Array(64), kernel]).subarray(64);
    assert.deepEqual(patchedKernelHead(inside, 5000, 2 * GIB), patchedKernelHead(kernel, 5000, 2 * GIB));
    assert.deepEqual(new Uint8Array(inside), kernel);
  });
  it("changes nothing else in the file", () => {
    const before = kernelFixture();
    const after = patchedKernelHead(before, 5000, 2 * GIB);
    const changed = [...before.keys()].filter((i) => before[i] !== after[i]);
    assert.equal(after.length, before.length);
    for (const i of changed)
      assert.ok([0x210, 0x211].includes(i) || (i >= 0x218 && i < 0x220) || (i >= 0x224 && i < 0x22c), `${i}`);
  });
  it("copies no more than 64 KiB", () => {
    const large = new Uint8Array(100_000);
    large.set(kernelFixture());
    assert.equal(patchedKernelHead(large, 5000, 2 * GIB).length, 65_536);
  });
  it("gives the same digest for 2 GiB and for 2.75 GiB and more, and another in between", () => {
    const at = (memory: number) => header({}, 5000, memory).initrd;
    assert.equal(at(0xb000_0000), at(2 * GIB));
    assert.equal(at(64 * GIB), at(2 * GIB));
    assert.notEqual(at(2.5 * GIB), at(2 * GIB));
    assert.notEqual(at(1 * GIB), at(2 * GIB));
  });
  it("puts the initrd on the page below the last byte that it may use", () => {
    assert.equal(header({}, 8192).initrd, 0x8000_0000 - 0x2_8000 - 8192 - 4096);
    assert.equal(header({}, 8191).initrd, 0x8000_0000 - 0x2_8000 - 8192);
  });
  it("takes the limit of the header from kernels that cannot be loaded above 4 GiB", () => {
    const limit = { initrdMax: 0x1000_0000 };
    for (const fixture of [
      { ...limit, extraLoadFlags: 0x7d },
      { ...limit, protocol: 0x203 },
    ]) {
      assert.equal(header(fixture).initrd, (0x1000_0000 - 5000) & ~0xfff);
    }
    refuses(() => header({ protocol: 0x203, initrdMax: 0 }), "unsupported");
  });
  it("keeps the initrd below 0x38000000 for kernels whose header has no limit", () => {
    assert.equal(header({ protocol: 0x202 }).initrd, (0x37ff_ffff - 5000) & ~0xfff);
  });
  it("leaves the initrd fields when there is no initrd", () => assert.equal(header({}, 0).initrd, 0));
  it("refuses files that are no bzImage", () => {
    refuses(() => patchedKernelHead(new Uint8Array(4095), 1, GIB), "kernel-invalid");
    refuses(() => patchedKernelHead(new Uint8Array(8192), 1, GIB), "kernel-invalid");
    refuses(() => header({ loadFlags: 0 }), "kernel-invalid");
    refuses(() => header({ protocol: 0x201 }), "kernel-invalid");
  });
  it("refuses an initrd that does not fit, and memory below any kernel's", () => {
    refuses(() => patchedKernelHead(kernelFixture(), GIB, GIB), "unsupported");
    refuses(() => patchedKernelHead(kernelFixture(), 5000, 0x2_0000), "unsupported");
  });
});

const digest = (parts: readonly Uint8Array[]) =>
  createHash("sha384")
    .update(concatBytes(...parts))
    .digest("hex");

describe("authenticodeParts", () => {
  it("covers the file but for checksum and certificate entry, sections in file order", () => {
    const kernel = kernelFixture();
    const expected = [kernel.subarray(0, 0xd8), kernel.subarray(0xdc, 0x98 + 144), kernel.subarray(0x98 + 152)];
    assert.equal(digest(authenticodeParts(kernel)), digest(expected));
  });
  it("does not change with the checksum or the certificate", () => {
    const signed = kernelFixture({ certificate: 64 });
    const other = signed.slice();
    other.fill(0xaa, 0xd8, 0xdc);
    other.fill(0xbb, other.length - 64);
    assert.equal(digest(authenticodeParts(other)), digest(authenticodeParts(signed)));
  });
  it("takes the first bytes from the given head, wherever a section crosses its end", () => {
    const kernel = kernelFixture({ trailing: 16, certificate: 64 });
    for (const headBytes of [0x400, 0x401, 0x1234, 0x2fff, 0x3008, kernel.length]) {
      const changed = kernel.slice();
      for (const at of [0x210, 0x3ff]) changed[at]! ^= 1;
      const head = changed.slice(0, headBytes);
      assert.equal(digest(authenticodeParts(kernel, head)), digest(authenticodeParts(changed)), `${headBytes}`);
    }
  });
  it("refuses a head that does not hold the headers", () => {
    const kernel = kernelFixture();
    refuses(() => authenticodeParts(kernel, kernel.subarray(0, 0x3ff)), "kernel-invalid");
  });
  it("changes with every byte of header and sections", () => {
    const kernel = kernelFixture();
    for (const at of [0, 0x97, 0x200, 0x3ff, 0x400, 0x1000, 0x2fff]) {
      const other = kernel.slice();
      other[at]! ^= 1;
      assert.notEqual(digest(authenticodeParts(other)), digest(authenticodeParts(kernel)), `${at}`);
    }
  });
  it("covers no bytes behind the last section of a file without a certificate", () => {
    const kernel = kernelFixture({ trailing: 16 });
    const other = kernel.slice();
    other[0x3008]! ^= 1;
    assert.equal(digest(authenticodeParts(other)), digest(authenticodeParts(kernel)));
  });
  it("clips a section that ends behind the file, and leaves out one that starts there", () => {
    const kernel = kernelFixture();
    const table = new DataView(kernel.buffer, 0x98 + 0xa0);
    table.setUint32(16, 0x7fff_ffff, true);
    const headers = [kernel.subarray(0, 0xd8), kernel.subarray(0xdc, 0x98 + 144), kernel.subarray(0x98 + 152, 0x400)];
    assert.equal(digest(authenticodeParts(kernel)), digest([...headers, kernel.subarray(0x400)]));
    table.setUint32(20, 0x7fff_ffff, true);
    assert.equal(digest(authenticodeParts(kernel)), digest([...headers, kernel.subarray(0x400, 0x1000)]));
  });
  it("covers bytes between the last section and the certificate", () => {
    const signed = kernelFixture({ trailing: 16, certificate: 64 });
    const other = signed.slice();
    other[0x3008]! ^= 1;
    assert.notEqual(digest(authenticodeParts(other)), digest(authenticodeParts(signed)));
  });
  it("fills the file up to a multiple of eight", () => {
    const odd = kernelFixture({ trailing: 3, certificate: 8 });
    assert.equal(authenticodeParts(odd).at(-1)?.length, 5);
  });
  it("reads the certificate entry of a 32-bit image where that has it", () => {
    const kernel = kernelFixture({ magic: 0x10b });
    const other = kernel.slice();
    other.fill(0xcc, 0x98 + 128, 0x98 + 132);
    assert.equal(digest(authenticodeParts(other)), digest(authenticodeParts(kernel)));
  });
  it("refuses images whose headers lie", () => {
    const broken = (offset: number, value: number) => {
      const kernel = kernelFixture();
      new DataView(kernel.buffer).setUint32(offset, value, true);
      refuses(() => authenticodeParts(kernel), "kernel-invalid");
    };
    broken(0x3c, 0xffff_fff0);
    broken(0x80, 0);
    broken(0x98, 0x999);
    broken(0x98 + 60, 0x7fff_ffff);
    broken(0x98 + 60, 0x10);
    broken(0x98 + 148, 0x7fff_ffff);
    broken(0x84, 0xffff_0000);
    refuses(() => authenticodeParts(new Uint8Array(10)), "kernel-invalid");
  });
});
