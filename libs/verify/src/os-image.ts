/**
 * Whether the quoted registers are those of the OS image that the VM configuration names: the one rule of verifier,
 * KMS and command line. They differ by the setting `acpiTables` alone.
 * In: registers of a verified quote, its event log, the VM configuration. Out: checks, and what was wrong or missing.
 * Images come from a source that checks them against their hash; what a configuration measures to is kept where the
 * caller keeps it.
 * Never: a register that is taken from the configuration rather than computed; a verdict that is kept.
 */
import { toHex, type Hash32 } from "@dstack/bytes";
import { fail, notBound, pass, type Check, type EventLogEntry, type TdReport } from "@dstack/attest";
import type { ImageMetadata } from "@dstack/image";
import { SharedWork } from "@dstack/image/store";
import {
  acpiDigestsIn,
  acpiEvents,
  checkVm,
  compareMeasurements,
  MeasureError,
  measureLite,
  parseVmConfig,
  type Registers,
  type RegisterDifference,
  type VmConfig,
  type VmMeasurement,
} from "@dstack/measure";
import type { KnownMeasurements, Measured } from "./known-measurements.ts";
import type { FoundImage, NotFound, OsImageMethod, OsImageSource } from "./os-image-source.ts";

export interface OsImageInput {
  readonly report: TdReport;
  readonly eventLog: readonly EventLogEntry[];
  /** JSON text. */
  readonly vmConfig: string;
  readonly images: OsImageSource;
  /**
   * Of lite evidence. `computed`: the tables in the quote must be those that we compute; whoever starts a VM chooses the
   * form, and could leave its tables unseen by it. `computed-or-logged`: where they are others, or cannot be computed,
   * the digests of the guest's log are taken on trust, and the check says so.
   */
  readonly acpiTables: "computed" | "computed-or-logged";
  /** Spares callers who judge many VMs of one kind to measure the image each time. */
  readonly known?: KnownMeasurements | undefined;
  /** Ends the wait for the image: its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Why a verdict is not ok. `unnamed`: the configuration names no image; `unmeasurable`: configuration, document or log
 * cannot be measured with; `absent` and `wrong`: as the source found the image; `differs`: a register does.
 */
export interface OsImageFailure {
  readonly kind: "unnamed" | "unmeasurable" | "absent" | "wrong" | "differs";
  readonly reason: string;
}

export interface OsImageVerdict {
  /** Names: os-image, firmware, virtual-hardware, kernel, command-line-and-initrd, acpi-tables. */
  readonly checks: readonly Check[];
  /** Whether the registers were compared and are all as expected. */
  readonly ok: boolean;
  /** The first thing that is wrong or missing; "" where all is well. */
  readonly reason: string;
  readonly failure?: OsImageFailure;
  readonly method?: OsImageMethod;
  readonly hash?: Hash32;
  /** Where the image's files were at hand. */
  readonly metadata?: ImageMetadata;
  readonly config?: VmConfig;
  readonly expected?: VmMeasurement;
  readonly differences?: readonly RegisterDifference[];
}

type Compared = Measured & { readonly differences: readonly RegisterDifference[] };

/** Compares the registers of a verified quote: firmware, hardware, kernel, command line, initrd. */
export async function verifyOsImage(input: OsImageInput): Promise<OsImageVerdict> {
  try {
    const config = parseVmConfig(input.vmConfig);
    const hash = config.osImageHash;
    if (hash === undefined) {
      const reason = "vm_config names no OS image (os_image_hash)";
      return undecided({ name: "os-image", ...fail(reason) }, { kind: "unnamed", reason }, { config });
    }
    if (config.attestationVariant === "lite") return verdict(await compareLite(input, config), config, hash);
    const compared = await compareImage(input, config, hash);
    return compared.kind === "measured" ? verdict(compared, config, hash) : notFound(compared, config, hash);
  } catch (error) {
    if (!(error instanceof MeasureError)) throw error;
    return undecided({ name: "os-image", ...fail(error.message) }, { kind: "unmeasurable", reason: error.message }, {});
  }
}

/** What the configuration measures to is computed once, also for callers that come meanwhile. */
async function compareImage(input: OsImageInput, config: VmConfig, hash: Hash32): Promise<Compared | NotFound> {
  const { images, report, eventLog, vmConfig, known, signal } = input;
  const got = registersOf(report);
  const pending = known?.get(vmConfig);
  // No turn passes for the first one: whoever comes next finds what it keeps.
  if (pending !== undefined) {
    const looked = await pending.wait(signal);
    if (looked.kind !== "measured") return looked;
    const compared = compare(looked, input, config);
    // One configuration may have two good values of RTMR1: that is for the files to say.
    const { differences } = compared;
    if (differences.length === 0 || differences.some(({ register }) => register !== "RTMR1")) return compared;
  }
  const measuring = new SharedWork(async (given) =>
    measureFound(await images.find(hash, given), config, got, eventLog),
  );
  known?.keep(measuring, vmConfig);
  const measured = await measuring.wait(signal);
  return measured.kind === "measured" ? compare(measured, input, config) : measured;
}

function measureFound(
  image: FoundImage,
  config: VmConfig,
  got: Registers,
  eventLog: readonly EventLogEntry[],
): Measured | NotFound {
  switch (image.kind) {
    case "files": {
      const { files, metadata } = image;
      return { kind: "measured", method: "image", expected: checkVm(files, config, got, eventLog).expected, metadata };
    }
    case "document":
      return measuredByDocument({ ...config, tdxMeasurement: image.material });
    case "absent":
    case "wrong":
      return image;
  }
}

/**
 * With the tables that we compute; where the quote has others, or we cannot compute them, and that is enough, with the
 * digests of the log, whose contents nobody sees.
 */
async function compareLite(input: OsImageInput, config: VmConfig): Promise<Compared> {
  const { vmConfig, eventLog, known, acpiTables } = input;
  const mayBeLogged = acpiTables === "computed-or-logged";
  try {
    const computed = compare(await kept(known, [vmConfig], () => measuredByDocument(config)), input, config);
    if (!mayBeLogged || !computed.differences.some(({ register }) => register === "RTMR0")) return computed;
  } catch (error) {
    // Of a machine whose tables are not modelled, such as one with a TPM.
    if (!(mayBeLogged && error instanceof MeasureError && error.code === "unsupported")) throw error;
  }
  const digests = Object.values(acpiDigestsIn(eventLog)).map(toHex);
  const logged = await kept(known, [vmConfig, ...digests], () => ({
    kind: "measured",
    method: "lite",
    expected: measureLite(config, eventLog),
  }));
  return compare(logged, input, config);
}

const measuredByDocument = (config: VmConfig): Measured => ({
  kind: "measured",
  method: "document",
  expected: measureLite(config, acpiEvents(config)),
});

async function kept(
  known: KnownMeasurements | undefined,
  inputs: readonly string[],
  measure: () => Measured,
): Promise<Measured> {
  const found = await known?.get(...inputs)?.wait();
  if (found?.kind === "measured") return found;
  const measured = measure();
  known?.keep(new SharedWork(() => Promise.resolve(measured)), ...inputs);
  return measured;
}

const compare = (measured: Measured, input: OsImageInput, config: VmConfig): Compared => ({
  ...measured,
  differences: compareMeasurements(measured.expected, registersOf(input.report), input.eventLog, config),
});

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
    ...(wrong.length === 0 ? {} : { failure: { kind: "differs", reason: wrong.join("; ") } }),
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

function notFound(found: NotFound, config: VmConfig, hash: Hash32): OsImageVerdict {
  const outcome =
    found.kind === "absent"
      ? notBound(`image ${toHex(hash)} is not at hand, so the measurements cannot be compared: ${found.reason}`)
      : fail(`what should be image ${toHex(hash)} is another one: ${found.reason}`);
  return undecided({ name: "os-image", ...outcome }, found, { config, hash });
}

const undecided = (
  check: Check,
  failure: OsImageFailure,
  rest: Pick<OsImageVerdict, "config" | "hash">,
): OsImageVerdict => ({
  checks: [check],
  ok: false,
  reason: check.reason,
  failure,
  ...rest,
});

function registersOf({ mrTd, rtmr: [rtmr0, rtmr1, rtmr2] }: TdReport): Registers {
  return { mrtd: mrTd, rtmr0, rtmr1, rtmr2 };
}
