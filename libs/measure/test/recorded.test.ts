/**
 * Everything that was recorded on real machines or computed by others, where it lies beside the checkout: each is
 * compared here, or named with the reason why this library has no part in it. What follows from it for our own code
 * is tested without it as well: tables against the QEMU at hand, registers against made-up images.
 */
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { describe, it } from "node:test";
import { hash48, parseHex, toHex } from "@dstack/bytes";
import { acpiTables } from "../src/acpi/acpi-tables.ts";
import { loadOptions, rtmr1Events, rtmr2Events } from "../src/boot-events.ts";
import { RELEASED_CONFIGURATION } from "../src/firmware-events.ts";
import { machineOf } from "../src/machine.ts";
import { measureVm } from "../src/measure-vm.ts";
import { replayRtmr } from "../src/rtmr.ts";
import type { TcgEvent } from "../src/rtmr.ts";
import { sha384 } from "../src/sha.ts";
import { decodeTdHobWitness, tdHob } from "../src/td-hob.ts";
import { parseVmConfig } from "../src/vm-config.ts";
import { files, vmConfig } from "./fixtures.ts";
import { recordedVectors } from "../../../tests/vectors/vector-sets.ts";

const vectorsRoot = `${recordedVectors?.root ?? ""}/attestation`;
const vectorJson = <T>(name: string): T => recordedVectors!.json<T>(`attestation/${name}`);
const vectorBytes = (name: string): Uint8Array => recordedVectors!.bytes(`attestation/${name}`);

interface LogEntry {
  imr: number;
  event_type: number;
  digest: string;
  event_payload: string;
}

const GIB = 2 ** 30;
const fullMachine = { cpu_count: 8, memory_size: 64 * GIB, qemu_version: "8.2.2" };
const baseline = { cpu_count: 1, memory_size: 2 * GIB, qemu_version: "9.1.0", pic: true };
const gpuMachine = (): Record<string, unknown> =>
  JSON.parse(vectorJson<{ vm_config: string }>("verifier/quote-report.json").vm_config) as Record<string, unknown>;
const olderFirmware = "the firmware of image 0.5.1 has other memory ranges and is not recorded";
const foreign = "the quote of another project's VM";

/** Quoted registers: the VM that RTMR0 is computed for, or why it cannot be. */
const quotes: Record<string, (() => Record<string, unknown>) | string> = {
  "tdx-v4-uptodate": foreign,
  "sgx-v3-config-sw": "an SGX quote has no such registers",
  "dstack-cvm-near": () => baseline,
  "tdx-v4-outofdate-sa": foreign,
  "tdx-v5-td15-service-td": foreign,
  "tdx-v4-no-level": olderFirmware,
  "tdx-v4-reserved-attr": foreign,
  "tdx-v4-no-septve": foreign,
  "dstack-cvm-quote-report": gpuMachine,
  "tdx-v5-td15-service-td-outofdate": foreign,
  "near-mpc-528ed23aa": olderFirmware,
  "near-mpc-1b075a77b": () => fullMachine,
  "near-mpc-42302dde0": () => fullMachine,
  "near-mpc-45424d4cf": () => fullMachine,
};

/** Logs: the VM, and labels of the events whose digest it does not give. */
const logs: Record<string, { config: () => Record<string, unknown>; except?: readonly string[] }> = {
  "cvm/near-mpc-528ed23aa/tcb_info.json": { config: () => fullMachine, except: ["TD HOB"] },
  "cvm/near-mpc-1b075a77b/tcb_info.json": { config: () => fullMachine },
  "cvm/near-mpc-42302dde0/tcb_info.json": { config: () => fullMachine },
  "cvm/near-mpc-45424d4cf/tcb_info.json": { config: () => fullMachine },
  "verifier/quote-report.json": { config: gpuMachine },
  // Its firmware is the other build, which measures the host's SMBIOS tables.
  "simulator/attestation.decoded.json": {
    config: () => ({ ...fullMachine, memory_size: 16 * GIB, ovmf_variant: "stable202505" }),
    except: ["SMBIOS tables"],
  },
};

/** Which test of this package reads a recorded file, or why none does. */
const others: readonly (readonly [files: RegExp, reason: string])[] = [
  [/^acpi\//, "below: tables and TD HOBs"],
  [/^ccel\/ccel\.(bin|expected\.json)$/, "below, and written again by ccel.test.ts"],
  [/^vectors\.json$/, "below: boot events and command line"],
  [/^pairs\.json$/, "below: quoted registers"],
  [/^(rust\/)?README\.md$/, "words"],
  [/^rust\//, "lite evidence: it carries no firmware payloads to compare"],
  [
    /^(quotes|collateral|synthetic)\/|^intel-sgx-root-ca\.pem$|^cvm\/[^/]+\/(quote\.bin|collateral\.json)$/,
    "quotes and collateral: their registers come decoded in pairs.json",
  ],
  [/^simulator\/attestation\.bin$/, "the same as its decoded form"],
  [/^(gpu|nitro|snp)\//, "platforms that this library does not measure"],
];

/** The events of RTMR0, with the configuration volume of the released firmware, which tests do not have. */
const released = (config: Record<string, unknown>): readonly TcgEvent[] =>
  measureVm(files(), vmConfig(config)).events.imr0.map((event, i) =>
    i === 1 ? { ...event, digest: RELEASED_CONFIGURATION.digest } : event,
  );

describe("recorded measurements", () => {
  if (recordedVectors === undefined) return;

  it("are all either compared or left out for a reason", () => {
    const all = globSync("**/*", { cwd: vectorsRoot, withFileTypes: true }).filter((entry) => entry.isFile());
    const names = all.map((entry) => `${entry.parentPath}/${entry.name}`.slice(vectorsRoot.length + 1));
    assert.ok(names.length > 50);
    assert.deepEqual(
      names.filter((name) => logs[name] === undefined && !others.some(([pattern]) => pattern.test(name))),
      [],
    );
    assert.deepEqual(
      Object.keys(logs).filter((name) => !names.includes(name)),
      [],
    );
  });

  describe("registers of quotes", () => {
    const pairs = vectorJson<{ id: string; decoded: { rtmr?: string[] } }[]>("pairs.json");
    it("are all in the list above", () =>
      assert.deepEqual(
        pairs.map(({ id }) => id),
        Object.keys(quotes),
      ));
    for (const { id, decoded } of pairs) {
      const config = quotes[id];
      if (typeof config === "function")
        it(`have RTMR0 of ${id}`, () => assert.equal(toHex(replayRtmr(released(config()))), decoded.rtmr?.[0]));
      else it(`cannot be compared for ${id}: ${config}`, () => assert.equal(typeof config, "string"));
    }
  });

  for (const [name, { config, except = [] }] of Object.entries(logs)) {
    it(`have the events of ${name}${except.length > 0 ? `, but for ${except.join()}` : ""}`, () => {
      const { event_log: recorded } = vectorJson<{ event_log: LogEntry[] | string }>(name);
      const entries = typeof recorded === "string" ? (JSON.parse(recorded) as LogEntry[]) : recorded;
      const of = (imr: number) => entries.filter((entry) => entry.imr === imr);
      const own = released(config());
      assert.deepEqual(
        own.map(({ eventType }) => eventType),
        of(0).map((entry) => entry.event_type),
      );
      for (const [i, event] of own.entries()) {
        const logged = of(0)[i]!;
        if (!except.includes(event.label)) assert.equal(toHex(event.digest), logged.digest, event.label);
        if (event.label !== "SMBIOS tables") assert.equal(toHex(event.data), logged.event_payload, event.label);
        else assert.equal(toHex(event.data.subarray(0, 24)), logged.event_payload.slice(0, 48));
      }
      // The image is not recorded: with its digests from the log, the other events make the logged registers.
      const imr1 = rtmr1Events(hash48(parseHex(of(1)[0]!.digest)), 0);
      const imr2 = rtmr2Events(hash48(parseHex(of(2)[0]!.digest)), hash48(parseHex(of(2)[1]!.digest)));
      for (const [register, events] of [
        [1, imr1],
        [2, imr2],
      ] as const) {
        assert.deepEqual(
          events.map(({ digest, eventType }) => [eventType, toHex(digest)]),
          of(register).map((entry) => [entry.event_type, entry.digest]),
        );
        for (const [i, event] of events.entries()) {
          // Where the kernel was loaded and how long it is belong to that machine and image.
          const own = register === 1 && i === 0 ? 32 : 0;
          assert.equal(toHex(event.data).slice(own), of(register)[i]!.event_payload.slice(own), event.label);
        }
      }
    });
  }

  it("have the event data and types of the recorded CCEL area", () => {
    const logged = vectorJson<{ events: LogEntry[] }>("ccel/ccel.expected.json").events;
    const own = measureVm(files(), vmConfig()).events;
    assert.deepEqual(
      own.imr0.map((event) => [event.eventType, toHex(event.data)]),
      logged.filter(({ imr }) => imr === 0).map((event) => [event.event_type, event.event_payload]),
    );
    assert.deepEqual(
      own.imr1.slice(1).map((event) => toHex(event.digest)),
      logged
        .filter(({ imr }) => imr === 1)
        .slice(1)
        .map(({ digest }) => digest),
    );
  });

  it("have the listed boot events and command line", () => {
    const { boot_events: boot, cmdline } = vectorJson<{
      boot_events: {
        efi_variables: { name: string; preimage: string; sha384: string }[];
        separator_sha384: string;
        boot_order_sha384: string;
        strings: Record<string, string>;
      };
      cmdline: { cmdline: string; sha384_utf16le_nul: string }[];
    }>("vectors.json");
    const { imr0, imr1 } = measureVm(files(), vmConfig()).events;
    const digestOf = (events: readonly TcgEvent[], label: string) =>
      toHex(events.find((event) => event.label === label)!.digest);
    for (const { name, preimage, sha384: digest } of boot.efi_variables) {
      assert.equal(digestOf(imr0, `variable ${name}`), digest);
      assert.equal(toHex(imr0.find(({ label }) => label === `variable ${name}`)!.data), preimage);
    }
    assert.equal(digestOf(imr0, "separator"), boot.separator_sha384);
    assert.equal(digestOf(imr0, "variable BootOrder"), boot.boot_order_sha384);
    for (const [text, digest] of Object.entries(boot.strings)) assert.equal(digestOf(imr1, text), digest);
    for (const { cmdline: complete, sha384_utf16le_nul: digest } of cmdline) {
      assert.equal(toHex(sha384(loadOptions(complete.replace(/ initrd=initrd$/, "")))), digest);
    }
  });

  interface AcpiVector {
    name: string;
    config: Record<string, unknown> & { pci_hole64_size: number | null; smm: boolean; root_verity: boolean };
    tables: { size: number; used: number; sha256: string; sha384: string };
    rsdp: { hex: string };
    loader: { size: number; sha384: string };
    layout: Record<string, { offset: number; length: number }>;
    files?: { tables: string; loader: string };
  }
  interface HobVector {
    memory_size: number;
    witness_hex: string;
    hob_hex: string;
    sha384: string;
  }
  const { acpi, td_hob: hobs, ...rest } = vectorJson<{ acpi: AcpiVector[]; td_hob: HobVector[] }>("acpi/acpi.json");

  it("are tables and TD HOBs, and every recorded blob is one of them", () => {
    assert.deepEqual(Object.keys(rest), []);
    const named = acpi.flatMap((vector) => Object.values(vector.files ?? {}).map((file) => file.split(" ")[0]!));
    assert.deepEqual(globSync("acpi/*.bin", { cwd: vectorsRoot }).toSorted(), named.toSorted());
  });
  for (const { name, config, tables, rsdp, loader, layout, files: blobs } of acpi) {
    it(`have the ACPI tables of ${name}`, () => {
      const { smm, root_verity: rootVerity, ...keys } = config;
      const own = acpiTables(
        machineOf(parseVmConfig(JSON.stringify({ ...keys, pci_hole64_size: config.pci_hole64_size ?? 0 })), {
          smm,
          rootVerity,
        }),
      );
      for (const { signature, offset, length } of own.layout) {
        if (signature !== "FACS") assert.deepEqual({ offset, length }, layout[signature], signature);
      }
      if (blobs) {
        const recorded = vectorBytes(blobs.tables.split(" ")[0]!);
        const differs = recorded.findIndex((byte, i) => byte !== own.tables[i]);
        assert.equal(differs, -1, `first different byte at ${differs}`);
        assert.deepEqual(own.loader, vectorBytes(blobs.loader.split(" ")[0]!));
      }
      assert.deepEqual(
        [own.tables.length, toHex(sha384(own.tables)), toHex(own.rsdp)],
        [tables.size, tables.sha384, rsdp.hex],
      );
      assert.deepEqual([own.loader.length, toHex(sha384(own.loader))], [loader.size, loader.sha384]);
    });
  }
  for (const { memory_size: memory, witness_hex: witness, hob_hex: bytes, sha384: digest } of hobs) {
    it(`have the TD HOB at ${memory / 2 ** 20} MiB`, () => {
      const hob = tdHob(decodeTdHobWitness(parseHex(witness)), memory);
      assert.deepEqual([toHex(hob), toHex(sha384(hob))], [bytes, digest]);
    });
  }
});
