/**
 * Whether the OS that a VM runs is the one that it names.
 * In: registers of a verified quote, its event log, the VM configuration. Out: nothing, or a refusal.
 * Images come from the image store, which checks them against their hash; what was computed is kept.
 * Clearing the caches is the only change that anybody outside can make here.
 * Never: a register that is taken from the configuration rather than computed.
 */
import { createHash } from "node:crypto";
import { toHex, type Hash32 } from "@dstack/bytes";
import type { EventLogEntry, TdReport } from "@dstack/attest";
import { asRefusal } from "@dstack/errors";
import type { ImageSource } from "@dstack/image/store";
import {
  acpiEvents,
  checkVm,
  compareMeasurements,
  measureLite,
  parseVmConfig,
  type RegisterDifference,
  type VmFiles,
  type VmMeasurement,
} from "@dstack/measure";
import { KmsError } from "../errors.ts";

/** Whether a quote's registers are those of the image that its VM configuration names. */
export interface OsImageVerifier {
  /** @throws KmsError `measurement-mismatch` with the fact `register`, `image-mismatch`, `image-unavailable` */
  verify(vmConfig: string, report: TdReport, log: readonly EventLogEntry[]): Promise<void>;
  /** Forgets what was computed before. */
  forget(): void;
}

/** For folders marked development with `core.image.verify = false`. */
export const noImageVerification: OsImageVerifier = { verify: () => Promise.resolve(), forget: () => undefined };

const MAX_KEPT = 32;

/**
 * Measures the image's own files with the VM configuration and compares register by register.
 * What a configuration measures to is computed once and kept, also for callers that come meanwhile.
 */
export function osImageVerifier(images: ImageSource): OsImageVerifier {
  const kept = new Map<string, Promise<VmMeasurement>>();
  const keep = (key: string, expected: Promise<VmMeasurement>): void => {
    kept.delete(key);
    kept.set(key, expected);
    const oldest = kept.keys().next();
    if (kept.size > MAX_KEPT && oldest.done === false) kept.delete(oldest.value);
    expected.catch(() => {
      if (kept.get(key) === expected) kept.delete(key);
    });
  };
  return {
    forget: () => kept.clear(),
    verify: async (vmConfig, report, log) => {
      const config = measured(() => parseVmConfig(vmConfig));
      const hash = config.osImageHash;
      if (hash === undefined) throw new KmsError("image-mismatch", "vm_config: os_image_hash is missing");
      const [rtmr0, rtmr1, rtmr2] = report.rtmr;
      const got = { mrtd: report.mrTd, rtmr0, rtmr1, rtmr2 };
      if (config.attestationVariant === "lite") {
        // Not with the digests of the guest's log: whoever starts a VM chooses the variant, and could leave the tables unseen by it.
        return requireSame(
          hash,
          compareMeasurements(
            measured(() => measureLite(config, acpiEvents(config))),
            got,
            log,
            config,
          ),
        );
      }
      const key = createHash("sha256").update(vmConfig).digest("hex");
      const known = kept.get(key);
      if (known !== undefined) {
        keep(key, known);
        const differences = compareMeasurements(await known, got, log, config);
        // One configuration may have two good values of RTMR1: that is for the files to say.
        if (differences.length === 0 || differences.some(({ register }) => register !== "RTMR1"))
          return requireSame(hash, differences);
      }
      const check = filesOf(images, hash).then((files) => measured(() => checkVm(files, config, got, log)));
      keep(
        key,
        check.then(({ expected }) => expected),
      );
      requireSame(hash, (await check).differences);
    },
  };
}

function requireSame(hash: Hash32, differences: readonly RegisterDifference[]): void {
  const [first] = differences;
  if (first === undefined) return;
  const texts = differences.map(
    ({ register, expected, got, hint }) =>
      `${register} does not match (image ${toHex(hash)} gives ${expected}, the quote has ${got}; ${hint})`,
  );
  throw new KmsError("measurement-mismatch", `MRs do not match: ${texts.join("; ")}`, {
    facts: { register: first.register },
  });
}

function filesOf(images: ImageSource, hash: Hash32): Promise<VmFiles> {
  return asRefusal(
    () => images.filesOf(hash),
    (cause) =>
      new KmsError(cause.code === "image-unavailable" ? "image-unavailable" : "image-mismatch", cause.message, {
        cause: cause.cause,
      }),
  );
}

function measured<T>(compute: () => T): T {
  return asRefusal(compute, (cause) => new KmsError("image-mismatch", "the VM cannot be measured", { cause }));
}
