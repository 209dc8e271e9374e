import { readFile } from "node:fs/promises";
import { equalBytes, hash48, parseHexOfLength, toHex } from "@dstack/bytes";
import { parseEventLogJson, type EventLogEntry } from "@dstack/attest";
import { listImages } from "@dstack/image";
import { checkVm, parseVmConfig, type Registers, type VmConfig } from "@dstack/measure";
import { asRefusal } from "@dstack/errors";
import { CliError } from "../terminal/errors.ts";
import { readMeasuredImage } from "./image-files.ts";
import type { Cli } from "../clients/cli.ts";
import type { MrDiagnoseOptions } from "./options.ts";
import { measurable, registersJson, registersText } from "./measure.ts";

const REGISTERS = ["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const;

/** `dstack mr diagnose`; gives the exit code. */
export async function mrDiagnose({ out }: Cli, options: MrDiagnoseOptions): Promise<number> {
  const { print } = out;
  const text = await readText(options.vmConfig);
  const config = measurable(() => parseVmConfig(text));
  const image = await readMeasuredImage(await imageFolder(options, config));
  const ovmfVariant = config.ovmfVariant ?? image.metadata.ovmf_variant;
  const actual = actualRegisters(options);
  const log = options.actualEventLog === undefined ? [] : readLog(await readText(options.actualEventLog));
  const hashMatches =
    image.osImageHash === undefined ||
    config.osImageHash === undefined ||
    equalBytes(image.osImageHash, config.osImageHash);
  const given = REGISTERS.filter((name) => actual[name] !== undefined);
  const checked = measurable(() =>
    checkVm(
      image.files,
      { ...config, ...(ovmfVariant === undefined ? {} : { ovmfVariant }) },
      zerosForAbsent(actual),
      log,
    ),
  );
  const { expected, kernelHeader } = checked;
  const differences = checked.differences.filter(({ register }) =>
    given.some((name) => name.toUpperCase() === register),
  );
  const ok = differences.length === 0 && hashMatches;
  const logged = log.filter(({ imr }) => imr === 0);
  const events = expected.events.imr0.map(({ label, digest }, i) => {
    const other = logged[i]?.digest;
    return {
      event: i + 1,
      label,
      expected: toHex(digest),
      ...(other === undefined ? {} : { actual: toHex(other), matches: equalBytes(other, digest) }),
    };
  });
  const image_hash = { expected: hex(config.osImageHash), image: hex(image.osImageHash), matches: hashMatches };
  if (options.json === true || options.output === "json") {
    out.json({
      ok,
      expected: registersJson(expected),
      kernel_header: kernelHeader,
      compared: given,
      differences,
      rtmr0_events: events,
      os_image_hash: image_hash,
    });
  } else {
    print(registersText(expected));
    if (kernelHeader !== "patched") print("RTMR1 is that of the kernel as it is in the file, as the quote has it");
    print("\nRTMR0 events:");
    for (const { event, label, expected: want, actual: got, matches } of events) {
      print(
        `${String(event).padStart(2)}  ${label.padEnd(30)} ${want}${got === undefined ? "" : matches === true ? "  same" : `  log: ${got}`}`,
      );
    }
    print("");
    if (!hashMatches)
      print(`the image's hash is ${image_hash.image}, the VM configuration names ${image_hash.expected}`);
    for (const { register, expected: want, got, hint } of differences)
      print(`${register} differs: expected ${want}, got ${got}; ${hint}`);
    if (ok)
      print(
        given.length === 0
          ? "no register was given to compare"
          : `${given.map((name) => name.toUpperCase()).join(", ")}: as expected`,
      );
  }
  return ok ? 0 : 3;
}

async function imageFolder({ imageDir, imageBaseDir }: MrDiagnoseOptions, config: VmConfig): Promise<string> {
  if ((imageDir === undefined) === (imageBaseDir === undefined))
    throw new CliError("usage", "give one of --image-dir and --image-base-dir");
  if (imageDir !== undefined) return imageDir;
  const wanted = config.osImageHash;
  if (wanted === undefined)
    throw new CliError("usage", "the VM configuration has no os_image_hash to look for; give --image-dir");
  const found = (await listImages(imageBaseDir ?? "")).find(
    ({ osImageHash }) => osImageHash !== undefined && equalBytes(osImageHash, wanted),
  );
  if (found === undefined) throw new CliError("not-found", `${imageBaseDir} has no image with hash ${toHex(wanted)}`);
  return found.dir;
}

type Actual = { readonly [Name in keyof Registers]: Registers[Name] | undefined };

function actualRegisters(options: MrDiagnoseOptions): Actual {
  const register = (option: string, text: string | undefined): Registers["mrtd"] | undefined => {
    if (text === undefined) return undefined;
    try {
      return hash48(parseHexOfLength(text, 48, option));
    } catch (cause) {
      throw new CliError("usage", `${option}: expected 96 hex digits, got ${text.length} characters`, { cause });
    }
  };
  return {
    mrtd: register("--actual-mrtd", options.actualMrtd),
    rtmr0: register("--actual-rtmr0", options.actualRtmr0),
    rtmr1: register("--actual-rtmr1", options.actualRtmr1),
    rtmr2: register("--actual-rtmr2", options.actualRtmr2),
  };
}

function zerosForAbsent({ mrtd, rtmr0, rtmr1, rtmr2 }: Actual): Registers {
  const zeros = hash48(new Uint8Array(48));
  return { mrtd: mrtd ?? zeros, rtmr0: rtmr0 ?? zeros, rtmr1: rtmr1 ?? zeros, rtmr2: rtmr2 ?? zeros };
}

function readLog(text: string): readonly EventLogEntry[] {
  return asRefusal(
    () => parseEventLogJson(text),
    (cause) => new CliError("failed", "--actual-event-log: not an event log", { cause }),
  );
}

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") throw new CliError("not-found", `${path} does not exist`);
    throw cause;
  });
}

const hex = (bytes: Uint8Array | undefined): string | null => (bytes === undefined ? null : toHex(bytes));
