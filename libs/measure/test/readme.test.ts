import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { compareMeasurements, measureVm, parseVmConfig } from "@dstack/measure";
import { firmwareFixture, kernelFixture } from "./fixtures.ts";

const firmware = firmwareFixture();
const kernel = kernelFixture();
const initrd = new Uint8Array(5000);
const otherInitrd = new Uint8Array(5000).fill(1);

function example(): void {
  const config = parseVmConfig('{"cpu_count":2,"memory_size":2147483648,"qemu_version":"10.0.2"}');
  const expected = measureVm({ firmware, kernel, initrd, cmdline: "console=ttyS0" }, config);
  const quoted = measureVm({ firmware, kernel, initrd: otherInitrd, cmdline: "console=ttyS0" }, config);
  const [difference] = compareMeasurements(expected, quoted);
  assert.equal(difference?.register, "RTMR2");
}

it("runs the example of the README as it is written there", () => {
  example();
  const squeezed = (text: string) => text.replaceAll(/\s+/g, " ");
  const shown =
    /```ts\n(.*?)```/s.exec(readFileSync(join(import.meta.dirname, "../README.md"), "utf8"))?.[1] ?? "nothing";
  assert.ok(squeezed(readFileSync(import.meta.filename, "utf8")).includes(squeezed(shown)), "README and test differ");
});
