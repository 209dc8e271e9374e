/** Whether the quoted registers are those of the OS image that the VM configuration names. */
import { toHex, type Hash32 } from "@dstack/bytes";
import { fail, notBound, pass, type Check, type EventLogEntry, type TdReport } from "@dstack/attest";
import type { ImageMetadata } from "@dstack/image";
import {
  acpiEvents,
  checkVm,
  compareMeasurements,
  MeasureError,
  measureLite,
  parseVmConfig,
  type LoggedEvent,
  type MeasurementMaterial,
  type Registers,
  type RegisterDifference,
  type VmConfig,
  type VmFiles,
  type VmMeasurement,
} from "@dstack/measure";
import type { KnownMeasurements } from "./known-measurements.ts";

/** Where the verifier has images from. */
export interface OsImageSource {
  /** A refusal is a value; throws only where something is broken. */
  find(hash: Hash32): Promise<FoundImage>;
}

export type FoundImage =
  | { readonly kind: "files"; readonly files: VmFiles; readonly metadata: ImageMetadata }
  /** Only the image's measurement document, as evidence bundles carry it. */
  | { readonly kind: "document"; readonly material: MeasurementMaterial }
  /** Not here, so nothing can be said about the registers. */
  | { readonly kind: "absent"; readonly reason: string }
  /** Here, and not what its hash says. */
  | { readonly kind: "wrong"; readonly reason: string };

export interface OsImageInput {
  readonly report: TdReport;
  readonly eventLog: readonly EventLogEntry[];
  /** JSON text. */
  readonly vmConfig: string;
  readonly images: OsImageSource;
  /** Spares callers who judge many VMs of one kind to measure the image each time. */
  readonly known?: KnownMeasurements | undefined;
}

/** `document`: from the image's own measurement document; `lite`: the same, the ACPI tables taken on trust from the log. */
export type OsImageMethod = "image" | "document" | "lite";

export interface OsImageVerdict {
  /** Names: os-image, firmware, virtual-hardware, kernel, command-line-and-initrd, acpi-tables. */
  readonly checks: readonly Check[];
  /** Whether the registers were compared and are all as expected. */
  readonly ok: boolean;
  /** The first thing that is wrong or missing; "" where all is well. */
  readonly reason: string;
  readonly method?: OsImageMethod;
  readonly hash?: Hash32;
  /** Where the image's files were at hand. */
  readonly metadata?: ImageMetadata;
  readonly config?: VmConfig;
  readonly expected?: VmMeasurement;
  readonly differences?: readonly RegisterDifference[];
}

interface Compared {
  readonly method: OsImageMethod;
  readonly expected: VmMeasurement;
  readonly differences: readonly RegisterDifference[];
  readonly metadata?: ImageMetadata;
}

/** Compares the registers of a verified quote: firmware, hardware, kernel, command line, initrd. */
export async function verifyOsImage(input: OsImageInput): Promise<OsImageVerdict> {
  try {
    const config = parseVmConfig(input.vmConfig);
    const hash = config.osImageHash;
    if (hash === undefined)
      return undecided({ name: "os-image", ...fail("vm_config names no OS image (os_image_hash)") }, { config });
    const got = registersOf(input.report);
    if (config.attestationVariant === "lite") return verdict(compareLite(config, got, input.eventLog), config, hash);
    const known = input.known?.get(input.vmConfig);
    // Where a register differs the image is measured again, for the reason to be right.
    if (known !== undefined && compareMeasurements(known.expected, got).length === 0)
      return verdict({ method: "image", differences: [], ...known }, config, hash);
    const image = await input.images.find(hash);
    switch (image.kind) {
      case "files": {
        const { files, metadata } = image;
        const { expected, differences } = checkVm(files, config, got, input.eventLog);
        if (differences.length === 0) input.known?.keep(input.vmConfig, { expected, metadata });
        return verdict({ method: "image", expected, differences, metadata }, config, hash);
      }
      case "document": {
        const expected = measureLite({ ...config, tdxMeasurement: image.material }, acpiEvents(config));
        return verdict(
          { method: "document", expected, differences: compareMeasurements(expected, got, input.eventLog, config) },
          config,
          hash,
        );
      }
      case "absent":
        return undecided(
          {
            name: "os-image",
            ...notBound(`image ${toHex(hash)} is not at hand, so the measurements cannot be compared: ${image.reason}`),
          },
          { config, hash },
        );
      case "wrong":
        return undecided(
          { name: "os-image", ...fail(`what should be image ${toHex(hash)} is another one: ${image.reason}`) },
          { config, hash },
        );
    }
  } catch (error) {
    if (!(error instanceof MeasureError)) throw error;
    return undecided({ name: "os-image", ...fail(error.message) }, {});
  }
}

/** The tables that we compute where the quote has those, else the digests of the log, whose contents nobody sees. */
function compareLite(config: VmConfig, got: Registers, log: readonly EventLogEntry[]): Compared {
  const own = ownAcpiEvents(config);
  if (own !== undefined) {
    const computed = measureLite(config, own);
    const differences = compareMeasurements(computed, got, log, config);
    if (!differences.some(({ register }) => register === "RTMR0"))
      return { method: "document", expected: computed, differences };
  }
  const logged = measureLite(config, log);
  return { method: "lite", expected: logged, differences: compareMeasurements(logged, got, log, config) };
}

/** Undefined for a machine whose tables are not modelled, such as one with a TPM. */
function ownAcpiEvents(config: VmConfig): readonly LoggedEvent[] | undefined {
  try {
    return acpiEvents(config);
  } catch (error) {
    if (error instanceof MeasureError && error.code === "unsupported") return undefined;
    throw error;
  }
}

const METHODS: Readonly<Record<OsImageMethod, string>> = {
  image: "measured from the image's files",
  document: "measured from the image's measurement document",
  lite: "measured from the image's measurement document and the log's ACPI digests",
};

function verdict(
  { method, expected, differences, metadata }: Compared,
  config: VmConfig,
  hash: Hash32,
): OsImageVerdict {
  const judge = (name: string, register: RegisterDifference["register"], what: string): Check => {
    const difference = differences.find((candidate) => candidate.register === register);
    return {
      name,
      ...(difference === undefined
        ? pass(`${register} is that of ${what}`)
        : fail(
            `${register} does not match: expected ${difference.expected}, the quote has ${difference.got}; ${difference.hint}`,
          )),
    };
  };
  const registers = [
    judge("firmware", "MRTD", "the image's firmware"),
    judge(
      "virtual-hardware",
      "RTMR0",
      `${config.cpuCount} CPUs, ${config.memoryBytes / 2 ** 20} MiB and the expected devices`,
    ),
    judge("kernel", "RTMR1", "the image's kernel"),
    judge("command-line-and-initrd", "RTMR2", "the image's command line (with the root hash) and initrd"),
  ];
  const wrong = registers.filter(({ result }) => result === "fail").map(({ reason }) => reason);
  const checks: Check[] = [
    {
      name: "os-image",
      ...(wrong.length === 0
        ? pass(`${toHex(hash)}, ${METHODS[method]}`)
        : fail(`the registers are not those of image ${toHex(hash)}`)),
    },
    ...registers,
    { name: "acpi-tables", ...acpiOutcome(method, differences) },
  ];
  return {
    checks,
    ok: wrong.length === 0,
    reason: wrong.join("; "),
    method,
    hash,
    config,
    expected,
    differences,
    ...(metadata === undefined ? {} : { metadata }),
  };
}

function acpiOutcome(method: OsImageMethod, differences: readonly RegisterDifference[]): ReturnType<typeof pass> {
  if (method === "lite")
    return notBound(
      "the contents of the ACPI tables were not compared; their digests are taken from the log, which replays to RTMR0",
    );
  if (differences.some(({ register }) => register === "RTMR0"))
    return fail("RTMR0 does not match, so the tables may be others");
  return pass("the tables that were computed for this VM are those in RTMR0");
}

const undecided = (check: Check, rest: Pick<OsImageVerdict, "config" | "hash">): OsImageVerdict => ({
  checks: [check],
  ok: false,
  reason: check.reason,
  ...rest,
});

function registersOf({ mrTd, rtmr: [rtmr0, rtmr1, rtmr2] }: TdReport): Registers {
  return { mrtd: mrTd, rtmr0, rtmr1, rtmr2 };
}
