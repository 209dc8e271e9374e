import type { EnclaveReport, TrustAnchor } from "@dstack/attest";
import type { CollateralSource } from "@dstack/attest/node";
import { attempt } from "@dstack/errors";
import { readTextIfExists } from "@dstack/files";
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

export interface EvidenceVerifiers {
  /** Verifies the evidence of a KMS that shows some; it throws as `provider` does. */
  readonly kms: EvidenceVerifier;
  /**
   * The enclave that a local key provider's quote speaks for; what is in the report is for the caller to judge.
   * @throws GuestError `keys-refused` where the quote does not verify, `keys-unavailable` where no collateral can be had
   */
  readonly provider: (quote: Uint8Array) => Promise<EnclaveReport>;
}

/** Who judges what is shown to this guest. One source of collateral for all: what it fetched once bounds what it takes later. */
export function evidenceVerifiers(options: EvidenceVerifierOptions): EvidenceVerifiers {
  const load = verifierLoader(options);
  return {
    kms: async (attestation, expectedReportData) => {
      const { node, collateralSource, trustAnchor } = await load();
      const now = options.now();
      const result = await node.verifyAttestation(attestation, {
        collateralSource,
        now,
        trustAnchor,
        expectedReportData,
      });
      if (result.ok) return;
      const collateral = result.checks.find(({ name }) => name === "collateral");
      const code = collateral !== undefined && isNotNow(collateral.code) ? "keys-unavailable" : "keys-refused";
      throw new GuestError(code, `the evidence of the KMS does not verify: ${result.reason}`);
    },
    provider: async (bytes) => {
      const { node, core, collateralSource, trustAnchor } = await load();
      const what = "the local key provider's quote does not verify";
      const collateral = await attempt(() => collateralSource.collateralFor(core.parseQuote(bytes)));
      if (!collateral.ok) {
        const code = isNotNow(collateral.error.code) ? "keys-unavailable" : "keys-refused";
        throw new GuestError(code, what, { cause: collateral.error });
      }
      const result = node.verifyQuote(bytes, collateral.value, { now: options.now(), trustAnchor });
      if (!result.ok) throw new GuestError("keys-refused", `${what}: ${result.reason}`);
      if (result.quote.body.kind !== "sgx")
        throw new GuestError("keys-refused", `${what}: it is a trust domain's, expected an enclave's`);
      return result.quote.body;
    },
  };
}

/** What the servers fail in, which says nothing of the evidence: they are down, stale, or give what is none. */
const isNotNow = (code: string | undefined): boolean =>
  code === "collateral-unavailable" || code === "collateral-rejected" || code === "collateral-malformed";

interface Verifier {
  readonly node: typeof import("@dstack/attest/node");
  readonly core: typeof import("@dstack/attest");
  readonly trustAnchor: TrustAnchor;
  readonly collateralSource: CollateralSource;
}

/** The verifier is loaded when the first evidence comes: most guests never need it at boot. */
function verifierLoader({ pccsUrls, isDev, rootsFile, now }: EvidenceVerifierOptions): () => Promise<Verifier> {
  const clock = { now: () => now() * 1000 };
  let known: { readonly root: string | undefined; readonly verifier: Verifier } | undefined;
  return async () => {
    const [node, core] = await Promise.all([import("@dstack/attest/node"), import("@dstack/attest")]);
    const root = isDev ? await readDevelopmentRoot(rootsFile) : undefined;
    if (known === undefined || known.root !== root) {
      const trustAnchor = root === undefined ? core.intelTrustAnchor() : core.trustAnchorFromPem(root);
      const endpoints = pccsUrls.length > 0 ? pccsUrls : [node.PUBLIC_PCCS];
      const collateralSource = new node.CollateralFetcher({ endpoints, trustAnchor, clock });
      known = { root, verifier: { node, core, trustAnchor, collateralSource } };
    }
    return known.verifier;
  };
}

/** `{"tdx": PEM}` as the simulator writes it. */
async function readDevelopmentRoot(path: string): Promise<string | undefined> {
  const text = await readTextIfExists(path);
  const root: unknown = text === undefined ? undefined : (JSON.parse(text) as { tdx?: unknown }).tdx;
  return typeof root === "string" ? root : undefined;
}
