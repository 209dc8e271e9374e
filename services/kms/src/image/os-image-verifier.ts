import { createHash } from "node:crypto";
import { toHex } from "@dstack/bytes";
import type { EventLogEntry, TdReport } from "@dstack/attest";
import { compareMeasurements, MeasureError, measureVm, parseVmConfig, type VmMeasurement } from "@dstack/measure";
import { KmsError } from "../errors.ts";
import type { ImageSource } from "./image-store.ts";

/** Whether a quote's registers are those of the image that its VM configuration names. */
export interface OsImageVerifier {
  /** @throws KmsError `measurement-mismatch` naming the register, `image-mismatch`, `image-unavailable` */
  verify(vmConfig: string, report: TdReport, log: readonly EventLogEntry[]): Promise<void>;
  /** Forgets what was computed before. */
  forget(): void;
}

/** For folders marked development with `core.image.verify = false`. */
export const noImageVerification: OsImageVerifier = { verify: () => Promise.resolve(), forget: () => undefined };

const MAX_KEPT = 32;

/** Measures the image's own files with the VM configuration and compares register by register. */
export function osImageVerifier(images: ImageSource): OsImageVerifier {
  const kept = new Map<string, VmMeasurement>();
  return {
    forget: () => kept.clear(),
    verify: async (vmConfig, report, log) => {
      const config = measured(() => parseVmConfig(vmConfig));
      if (config.osImageHash === undefined) throw new KmsError("image-mismatch", "vm_config: os_image_hash is missing");
      if (config.attestationVariant !== "legacy") {
        throw new KmsError("image-mismatch", `vm_config: tdx_attestation_variant ${config.attestationVariant} is not built in this version; expected legacy`);
      }
      const key = createHash("sha256").update(vmConfig).digest("hex");
      let expected = kept.get(key);
      if (expected === undefined) {
        const files = await images.filesOf(config.osImageHash);
        expected = measured(() => measureVm(files, config));
        const oldest = kept.keys().next();
        if (kept.size >= MAX_KEPT && oldest.done === false) kept.delete(oldest.value);
        kept.set(key, expected);
      }
      const [rtmr0, rtmr1, rtmr2] = report.rtmr;
      const differences = compareMeasurements(expected, { mrtd: report.mrTd, rtmr0, rtmr1, rtmr2 }, log, config);
      if (differences.length === 0) return;
      const texts = differences.map(({ register, expected: want, got, hint }) => `${register} does not match (image ${toHex(config.osImageHash!)} gives ${want}, the quote has ${got}; ${hint})`);
      throw new KmsError("measurement-mismatch", `MRs do not match: ${texts.join("; ")}`);
    },
  };
}

function measured<T>(compute: () => T): T {
  try {
    return compute();
  } catch (cause) {
    if (!(cause instanceof MeasureError)) throw cause;
    throw new KmsError("image-mismatch", "the VM cannot be measured", { cause });
  }
}
