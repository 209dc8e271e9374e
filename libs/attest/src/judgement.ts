/** A check's verdict in the parts that can be kept and those that are made anew each time. */
import { fail, guarded } from "./checks.ts";
import type { Check, Outcome } from "./checks.ts";

/** An ECDSA P-256 SHA-256 signature that must hold. */
export interface SignatureToCheck {
  readonly what: string;
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  /** r and s, 64 bytes. */
  readonly signature: Uint8Array;
}

/** When something is valid, both ends included. Unix seconds. */
export interface Period {
  readonly kind: "certificate" | "collateral";
  readonly what: string;
  readonly from: number;
  readonly until: number;
}

/** A verdict that stands for every time inside its periods, once its signatures hold. */
export interface Judgement {
  readonly name: string;
  readonly outcome: Outcome;
  readonly periods: readonly Period[];
  readonly signatures: readonly SignatureToCheck[];
}

/** The check that a judgement comes to at a time (Unix seconds). */
export function atTime({ name, outcome, periods }: Judgement, now: number): Check {
  if (outcome.result === "fail") return { name, ...outcome };
  const wrong = periods.find(({ from, until }) => !(now >= from && now <= until));
  if (wrong === undefined) return { name, ...outcome };
  const early = now < wrong.from;
  const limit = early ? `is valid only from ${isoTime(wrong.from)}` : `expired at ${isoTime(wrong.until)}`;
  return {
    name,
    ...fail(
      `${wrong.what} ${limit}; the clock says ${isoTime(now)}`,
      `${wrong.kind}-${early ? "not-yet-valid" : "expired"}`,
    ),
  };
}

/** Runs a check; what its readers refuse is its failure. The signatures it lists are kept. */
export function judge(
  name: string,
  check: (signatures: SignatureToCheck[]) => Outcome,
  periods: readonly Period[] = [],
): Judgement {
  const signatures: SignatureToCheck[] = [];
  const outcome = guarded(() => check(signatures));
  return { name, outcome: outcome.ok ? outcome.value : outcome.outcome, periods, signatures };
}

/** Every signature of these judgements once, also where several rest on it. */
export const signaturesOf = (judgements: readonly Judgement[]): SignatureToCheck[] => [
  ...new Set(judgements.flatMap(({ signatures }) => signatures)),
];

/** Those of `signatures` that hold by the word of `holds`, which goes along them; one that is missing there does not. */
export const holdingOnes = (
  signatures: readonly SignatureToCheck[],
  holds: readonly boolean[],
): ReadonlySet<SignatureToCheck> => new Set(signatures.filter((_, index) => holds[index] === true));

/** The judgement with its signatures decided. */
export function decide(judgement: Judgement, holding: ReadonlySet<SignatureToCheck>): Judgement {
  const bad = judgement.signatures.find((signature) => !holding.has(signature));
  const outcome =
    bad === undefined || judgement.outcome.result === "fail"
      ? judgement.outcome
      : fail(`the signature of ${bad.what} does not hold under the key it must be by`, "signature-invalid");
  return { ...judgement, outcome, signatures: [] };
}

export function isoTime(unixSeconds: number): string {
  const date = new Date(unixSeconds * 1000);
  return Number.isNaN(date.getTime()) ? `no date (${unixSeconds})` : date.toISOString().replace(".000Z", "Z");
}
