import { readTextIfExists } from "@dstack/files";
import type { CollateralSource } from "@dstack/attest/node";
import type { EvidenceVerifier } from "@dstack/ratls";
import { GuestError } from "../errors.ts";

export interface EvidenceVerifierOptions {
  /** Tried in this order; the public one where there is none. */
  readonly pccsUrls: readonly string[];
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
  const clock = { now: () => options.now() * 1000 };
  // One source for all: what it fetched once bounds what it takes later.
  let known: { readonly root: string | undefined; readonly collateralSource: CollateralSource } | undefined;
  return async (attestation, expected) => {
    const [{ PUBLIC_PCCS, CollateralFetcher, verifyAttestation }, { intelTrustAnchor, trustAnchorFromPem }] =
      await Promise.all([import("@dstack/attest/node"), import("@dstack/attest")]);
    const root = options.isDev ? await readDevelopmentRoot(options.rootsFile) : undefined;
    const trustAnchor = root === undefined ? intelTrustAnchor() : trustAnchorFromPem(root);
    const endpoints = options.pccsUrls.length > 0 ? options.pccsUrls : [PUBLIC_PCCS];
    if (known === undefined || known.root !== root)
      known = { root, collateralSource: new CollateralFetcher({ endpoints, trustAnchor, clock }) };
    const result = await verifyAttestation(attestation, {
      collateralSource: known.collateralSource,
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
