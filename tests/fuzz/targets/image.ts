import { utf8 } from "@dstack/bytes";
import { encode, decode } from "cborg";
import { formatChecksumFile, ImageError, parseChecksumFile, parseImageMetadata } from "@dstack/image";
import { encodeVmConfig, MeasureError, parseTdxMeasurement, parseVmConfig } from "@dstack/measure";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateJsonText } from "../mutate-json.ts";
import { mutateValue } from "../mutate-value.ts";
import type { Value } from "../mutate-value.ts";
import type { Target } from "../target.ts";

export const imageMetadata: Target = {
  name: "image-metadata",
  about: "metadata.json and sha256sum.txt of a guest image",
  findings: "libs/image/test/vectors/fuzz",
  seeds: () => [
    utf8(
      JSON.stringify({
        bios: "ovmf.fd",
        kernel: "bzImage",
        initrd: "initramfs.cpio.gz",
        cmdline: "console=hvc0 dstack.rootfs_hash=00",
        rootfs: "rootfs.img",
        rootfs_hash: "ab".repeat(32),
        version: "0.6.0",
        git_revision: "abc",
        shared_ro: true,
        is_dev: false,
        ovmf_variant: "pre202505",
      }),
    ),
    formatChecksumFile([
      { name: "ovmf.fd", sha256: "ab".repeat(32) },
      { name: "metadata.json", sha256: "cd".repeat(32) },
    ]),
  ],
  mutate: (random, seed, other) =>
    random.oneIn(3) ? mutateBytes(random, seed, other) : mutateJsonText(random, seed, mutateValue),
  // What does not begin like JSON is read as the checksum list that lies beside it.
  run: (input) =>
    input[0] === 0x7b || input[0] === 0x5b
      ? Object.keys(parseImageMetadata(input)).join(" ")
      : `${parseChecksumFile(input).length} files`,
  isRefusal: (error) => error instanceof ImageError,
};

const isMeasureError = (error: unknown): boolean => error instanceof MeasureError;

export const vmConfig: Target = {
  name: "vm-config",
  about: "the VM configuration that travels with evidence",
  findings: "libs/measure/test/vectors/fuzz",
  seeds: () => [
    utf8(
      encodeVmConfig({
        ...parseVmConfig("{}"),
        cpuCount: 4,
        memoryBytes: 2 ** 31,
        qemuVersion: "9.2.1",
        pic: true,
        image: "dstack-0.6.0",
        hostShareMode: "9p",
        tdxMeasurement: { checksumFile: utf8("list"), measurement: utf8("document") },
      }),
    ),
  ],
  mutate: (random, seed, other) =>
    random.oneIn(4) ? mutateBytes(random, seed, other) : mutateJsonText(random, seed, mutateValue),
  run: (input) => {
    const config = parseVmConfig(Buffer.from(input).toString("utf8"));
    return Object.keys(parseVmConfig(encodeVmConfig(config))).join(" ");
  },
  isRefusal: isMeasureError,
};

export const tdxMeasurement: Target = {
  name: "tdx-measurement",
  about: "measurement.tdx.cbor of a guest image",
  findings: "libs/measure/test/vectors/fuzz",
  seeds: () => {
    const digest = new Uint8Array(48).fill(3);
    return [
      encode({
        version: 3,
        image: { cmdline_sha384: digest, kernel_authenticode: digest, initrd_sha384: digest },
        tdvf: {
          ovmf: "pre202505",
          mrtd: { single_pass: digest, two_pass: digest },
          td_hob: Uint8Array.from([0x80, 0x10, 0x09, 0x04, 0, 6, 9, 2, 0x0b, 2, 0x10, 0x10]),
        },
      }),
    ];
  },
  mutate: (random, seed, other) => {
    if (random.oneIn(2)) return mutateBytes(random, seed, other);
    try {
      return encode(mutateValue(random, decode(seed) as Value));
    } catch {
      return mutateBytes(random, seed, other);
    }
  },
  run: (input) => `${parseTdxMeasurement(input).tdHob.constructor.name}`,
  isRefusal: isMeasureError,
};
