/**
 * measurement.tdx.cbor: the parts of a measurement that depend on the image alone, so that
 * a verifier can check a VM without downloading the image.
 */
import { equalBytes, hash48, toHex, utf8Decode } from "@dstack/bytes";
import type { Hash32, Hash48 } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";
import { decode, encode } from "cborg";
import { authenticodeParts } from "./authenticode.ts";
import { loadOptions } from "./boot-events.ts";
import { MeasureError } from "./errors.ts";
import { patchedKernelHead } from "./kernel-header.ts";
import { SPLIT_MEMORY_BYTES } from "./machine.ts";
import type { VmFiles } from "./measure-vm.ts";
import { mrtd } from "./mrtd.ts";
import { sha256, sha384 } from "./sha.ts";
import { decodeTdHobWitness, encodeTdHobWitness, tdHobLayout } from "./td-hob.ts";
import type { TdHobLayout } from "./td-hob.ts";
import { parseTdvf } from "./tdvf.ts";
import type { MeasurementMaterial } from "./vm-config.ts";

export interface TdxMeasurement {
  readonly cmdlineSha384: Hash48;
  /** For 2 GiB, and for 2.75 GiB of memory and more. */
  readonly kernelAuthenticode: Hash48;
  readonly initrdSha384: Hash48;
  readonly mrtdSinglePass: Hash48;
  readonly mrtdTwoPass: Hash48;
  readonly tdHob: TdHobLayout;
}

/** The name of the document in sha256sum.txt. */
export const TDX_MEASUREMENT_FILE = "measurement.tdx.cbor";

const VERSION = 3;
const OVMF_VARIANT = "pre202505";
const MAX_DOCUMENT_BYTES = 64 * 1024;

/** @throws MeasureError `firmware-invalid`, `kernel-invalid`, `unsupported` */
export function tdxMeasurementCbor(files: VmFiles): Uint8Array {
  const sections = parseTdvf(files.firmware);
  const kernelHead = patchedKernelHead(files.kernel, files.initrd.length, SPLIT_MEMORY_BYTES);
  const document = {
    version: VERSION,
    image: {
      cmdline_sha384: sha384(loadOptions(files.cmdline)),
      kernel_authenticode: sha384(...authenticodeParts(files.kernel, kernelHead)),
      initrd_sha384: sha384(files.initrd),
    },
    tdvf: {
      ovmf: OVMF_VARIANT,
      mrtd: {
        single_pass: mrtd(files.firmware, sections, "single"),
        two_pass: mrtd(files.firmware, sections, "two"),
      },
      td_hob: encodeTdHobWitness(tdHobLayout(sections)),
    },
  };
  // The image hash covers these bytes, and the reference writes keys in this order, not sorted.
  return encode(document, { mapSorter: () => 0 });
}

/**
 * Keys in any order, no others, none twice, nothing after the document.
 * @throws MeasureError `measurement-document-invalid`
 */
export function parseTdxMeasurement(cbor: Uint8Array): TdxMeasurement {
  if (cbor.length > MAX_DOCUMENT_BYTES)
    throw invalid("document", `at most ${MAX_DOCUMENT_BYTES} bytes`, `${cbor.length}`);
  const [version, image, tdvf] = members(decodeStrictly(cbor), "document", "version", "image", "tdvf");
  if (version !== VERSION) throw invalid("version", `${VERSION}`, describe(version));
  const [cmdline, kernel, initrd] = members(image, "image", "cmdline_sha384", "kernel_authenticode", "initrd_sha384");
  const [ovmf, mrtds, hob] = members(tdvf, "tdvf", "ovmf", "mrtd", "td_hob");
  if (ovmf !== OVMF_VARIANT) throw invalid("tdvf.ovmf", OVMF_VARIANT, describe(ovmf));
  const [single, two] = members(mrtds, "tdvf.mrtd", "single_pass", "two_pass");
  return {
    cmdlineSha384: digest(cmdline, "image.cmdline_sha384"),
    kernelAuthenticode: digest(kernel, "image.kernel_authenticode"),
    initrdSha384: digest(initrd, "image.initrd_sha384"),
    mrtdSinglePass: digest(single, "tdvf.mrtd.single_pass"),
    mrtdTwoPass: digest(two, "tdvf.mrtd.two_pass"),
    tdHob: decodeTdHobWitness(bytes(hob, "tdvf.td_hob")),
  };
}

export type MaterialBinding = { readonly bound: true } | { readonly bound: false; readonly reason: string };

/**
 * Whether the document belongs to the image: the checksum list hashes to the image hash and
 * names the document once, with its hash.
 */
export function checkMaterialBinding(material: MeasurementMaterial, osImageHash: Hash32): MaterialBinding {
  const listHash = sha256(material.checksumFile);
  if (!equalBytes(listHash, osImageHash)) {
    return unbound(`checksum_file: expected SHA-256 ${toHex(osImageHash)} (os_image_hash), got ${toHex(listHash)}`);
  }
  const listed = checksumsOf(material.checksumFile, TDX_MEASUREMENT_FILE);
  if (listed === undefined || listed.length !== 1) {
    return unbound(
      `checksum_file: expected ${TDX_MEASUREMENT_FILE} exactly once, got ${listed?.length ?? "malformed text"}`,
    );
  }
  const documentHash = toHex(sha256(material.measurement));
  if (listed[0] !== documentHash) {
    return unbound(`measurement: expected SHA-256 ${listed[0]} (checksum_file), got ${documentHash}`);
  }
  return { bound: true };
}

const unbound = (reason: string): MaterialBinding => ({ bound: false, reason });

/** Checksums that sha256sum.txt gives for a name; undefined when a line has another form. */
function checksumsOf(checksumFile: Uint8Array, name: string): readonly string[] | undefined {
  let text: string;
  try {
    text = utf8Decode(checksumFile);
  } catch {
    return undefined;
  }
  const found: string[] = [];
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, hash, listedName] = /^([0-9a-f]{64}) {2}([^/\s]+)$/.exec(line) ?? [];
    if (hash === undefined) return undefined;
    if (listedName === name) found.push(hash);
  }
  return found;
}

function decodeStrictly(cbor: Uint8Array): unknown {
  try {
    return decode(cbor, {
      strict: true,
      allowIndefinite: false,
      allowUndefined: false,
      rejectDuplicateMapKeys: true,
      useMaps: true,
    });
  } catch (cause) {
    throw new MeasureError("measurement-document-invalid", `${TDX_MEASUREMENT_FILE}: not valid CBOR`, { cause });
  }
}

/** The values of a map that has exactly these keys. */
function members<Names extends readonly string[]>(
  value: unknown,
  path: string,
  ...names: Names
): { [I in keyof Names]: unknown } {
  if (!(value instanceof Map)) throw invalid(path, "a map", describe(value));
  const map: ReadonlyMap<unknown, unknown> = value;
  if (map.size !== names.length || !names.every((name) => map.has(name))) {
    throw invalid(path, `the keys ${names.join(", ")}`, excerpt([...map.keys()].map(describe).join(", ")));
  }
  return names.map((name) => map.get(name)) as { [I in keyof Names]: unknown };
}

function bytes(value: unknown, path: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw invalid(path, "bytes", describe(value));
  return value;
}

function digest(value: unknown, path: string): Hash48 {
  const content = bytes(value, path);
  if (content.length !== 48) throw invalid(path, "48 bytes", `${content.length}`);
  return hash48(content);
}

const describe = (value: unknown): string =>
  typeof value === "string" || typeof value === "number" ? JSON.stringify(value).slice(0, 60) : `a ${typeof value}`;

const invalid = (path: string, expected: string, got: string): MeasureError =>
  new MeasureError("measurement-document-invalid", `${TDX_MEASUREMENT_FILE} ${path}: expected ${expected}, got ${got}`);
