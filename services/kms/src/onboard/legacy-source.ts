import { equalBytes, toHex, type Hash32 } from "@dstack/bytes";
import type { TdReport } from "@dstack/attest";
import { KmsError } from "../errors.ts";

export const LEGACY_SOURCES_KEY = "core.onboard.legacy_source_mr_aggregated";

export interface LegacySource {
  /** The verified registers of the source. */
  readonly report: TdReport;
  readonly mrAggregated: Hash32;
  /** What the configuration lists, lower-case hex. */
  readonly listed: readonly string[];
  /** Our own verified registers. */
  readonly own: () => Promise<TdReport>;
}

/**
 * Judges a source whose certificate names no OS image, as those up to 0.5.8. Nothing says which
 * image it claims to run, so only a measurement that an operator wrote down beforehand counts; our
 * own image is looked at to tell a replica that is merely not listed from another system.
 * @throws KmsError `source-refused` with the measured value and the setting; what `own` throws
 */
export async function requireListedSource({ report, mrAggregated, listed, own }: LegacySource): Promise<void> {
  const measured = toHex(mrAggregated);
  if (listed.includes(measured)) return;
  const [difference] = imageDifferences(report, await own());
  const found =
    difference === undefined
      ? "its MRTD, RTMR1 and RTMR2 are those of our own image"
      : `its ${difference.register} is ${difference.got}, and that of our own image is ${difference.expected}`;
  throw new KmsError(
    "source-refused",
    `its certificate names no OS image (0.5.8 or older); ${found}. Root keys are taken from such a KMS only where ${LEGACY_SOURCES_KEY} lists its mrAggregated: compare ${measured} with your own records first`,
    difference === undefined ? {} : { facts: { register: difference.register } },
  );
}

interface Difference {
  readonly register: "MRTD" | "RTMR1" | "RTMR2";
  readonly expected: string;
  readonly got: string;
}

/** RTMR0 holds the virtual hardware and RTMR3 the app: two KMS of one image may differ there. */
function imageDifferences(got: TdReport, own: TdReport): readonly Difference[] {
  const registers = [
    ["MRTD", got.mrTd, own.mrTd],
    ["RTMR1", got.rtmr[1], own.rtmr[1]],
    ["RTMR2", got.rtmr[2], own.rtmr[2]],
  ] as const;
  return registers
    .filter(([, have, want]) => !equalBytes(have, want))
    .map(([register, have, want]) => ({ register, expected: toHex(want), got: toHex(have) }));
}
