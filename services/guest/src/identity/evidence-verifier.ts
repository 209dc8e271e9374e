import { readTextIfExists } from "@dstack/files";
import type { EvidenceVerifier } from "@dstack/ratls";
import { GuestError } from "../errors.ts";

export interface EvidenceVerifierOptions {
  readonly pccsUrl: string | undefined;
  /** Development images may trust the roots that their simulator published. */
  readonly isDev: boolean;
  readonly rootsFile: string;
  /** Unix seconds. */
  readonly now: () => number;
}

/**
 * Verifies the evidence of a KMS that shows some. The verifier is loaded when the first one does:
 * most guests never need it at boot.
 */
export function evidenceVerifier(options: EvidenceVerifierOptions): EvidenceVerifier {
  return async (attestation, expected) => {
    const [{ PUBLIC_PCCS, CollateralFetcher, verifyAttestation }, { intelTrustAnchor, trustAnchorFromPem }] =
      await Promise.all([import("@dstack/attest/node"), import("@dstack/attest")]);
    const developmentRoot = options.isDev ? await readDevelopmentRoot(options.rootsFile) : undefined;
    const trustAnchor = developmentRoot === undefined ? intelTrustAnchor() : trustAnchorFromPem(developmentRoot);
    const clock = { now: () => options.now() * 1000 };
    const result = await verifyAttestation(attestation, {
      collateralSource: new CollateralFetcher({ endpoints: [options.pccsUrl ?? PUBLIC_PCCS], trustAnchor, clock }),
      now: options.now(),
      trustAnchor,
      expectedReportData: expected,
    });
    if (!result.ok) throw new GuestError("keys-refused", `the evidence of the KMS does not verify: ${result.reason}`);
  };
}

/** `{"tdx": PEM}` as the simulator writes it. */
async function readDevelopmentRoot(path: string): Promise<string | undefined> {
  const text = await readTextIfExists(path);
  const root: unknown = text === undefined ? undefined : (JSON.parse(text) as { tdx?: unknown }).tdx;
  return typeof root === "string" ? root : undefined;
}
