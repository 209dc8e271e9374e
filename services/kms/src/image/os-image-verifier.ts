/** The KMS's word on the OS that a VM runs: the rule of verifier and command line, in its strictest setting. */
import { toHex } from "@dstack/bytes";
import type { EventLogEntry, TdReport } from "@dstack/attest";
import { SharedWork } from "@dstack/image/store";
import { KnownMeasurements, verifyOsImage, type OsImageSource, type OsImageVerdict } from "@dstack/verify";
import { KmsError } from "../errors.ts";

/** Whether a quote's registers are those of the image that its VM configuration names. */
export interface OsImageVerifier {
  /** @throws KmsError `measurement-mismatch` with the fact `register`, `image-mismatch`, `image-unavailable`; the signal's reason */
  verify(vmConfig: string, report: TdReport, log: readonly EventLogEntry[], signal?: AbortSignal): Promise<void>;
  /** Forgets what was computed before. */
  forget(): void;
}

/** For folders marked development with `core.image.verify = false`. */
export const noImageVerification: OsImageVerifier = { verify: () => Promise.resolve(), forget: () => undefined };

/**
 * Measures the image with the VM configuration and compares register by register. The ACPI tables are always those that
 * we compute: with the guest's own digests whoever starts a VM could leave its tables unseen.
 */
export function osImageVerifier(images: OsImageSource): OsImageVerifier {
  const known = new KnownMeasurements();
  return {
    forget: () => known.forget(),
    verify: async (vmConfig, report, eventLog, signal) => {
      // A guest that gives up comes again, and is to find its image here: the download goes on.
      const judging = new SharedWork(() =>
        verifyOsImage({ vmConfig, report, eventLog, images, known, acpiTables: "computed" }),
      );
      const verdict = await judging.wait(signal);
      if (!verdict.ok) throw refusalOf(verdict);
    },
  };
}

function refusalOf({ failure, reason, hash, differences = [] }: OsImageVerdict): KmsError {
  switch (failure?.kind) {
    case "absent":
      return new KmsError("image-unavailable", failure.reason);
    case "unmeasurable":
      return new KmsError("image-mismatch", `the VM cannot be measured: ${failure.reason}`);
    case "differs": {
      const texts = differences.map(
        ({ register, expected, got, hint }) =>
          `${register} does not match (image ${hash === undefined ? "" : toHex(hash)} gives ${expected}, the quote has ${got}; ${hint})`,
      );
      const [first] = differences;
      return new KmsError("measurement-mismatch", `MRs do not match: ${texts.join("; ")}`, {
        facts: first === undefined ? {} : { register: first.register },
      });
    }
    case "unnamed":
    case "wrong":
    case undefined:
      return new KmsError("image-mismatch", failure?.reason ?? reason);
  }
}
