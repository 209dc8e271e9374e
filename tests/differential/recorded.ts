import { parseHex } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import type { Forged } from "../forge/forged-evidence.ts";
import type { VectorSet } from "../vectors/vector-sets.ts";

interface Pair {
  readonly id: string;
  readonly quote: string;
  readonly collateral: string;
  readonly verify_at_unix: number;
}
interface Synthetic {
  readonly id: string;
  readonly root_ca_pem: string;
  readonly quote_hex: string;
  readonly collateral: Readonly<Record<string, string>>;
  readonly verify_at_unix: number;
}

/** Real quotes with their collateral, at a time when both were valid, under Intel's root. */
export function realEvidence({ bytes, json, text }: VectorSet): (Forged & { readonly id: string })[] {
  const rootPem = text("attestation/intel-sgx-root-ca.pem");
  return json<Pair[]>("attestation/pairs.json").map((pair) => ({
    id: pair.id,
    quote: bytes(`attestation/${pair.quote}`),
    collateral: json(`attestation/${pair.collateral}`),
    now: pair.verify_at_unix,
    ...root(rootPem),
  }));
}

/** Made cases, each breaking one rule under a root of its own. */
export function syntheticEvidence({ json, names }: VectorSet): (Forged & { readonly id: string })[] {
  return names("attestation/synthetic").map((file) => {
    const {
      id,
      root_ca_pem: rootPem,
      quote_hex: quote,
      collateral,
      verify_at_unix: now,
    } = json<Synthetic>(`attestation/synthetic/${file}`);
    return { id, quote: parseHex(quote), collateral, now, ...root(rootPem) };
  });
}

function root(rootPem: string): { readonly rootPem: string; readonly rootDer: Uint8Array } {
  const [rootDer] = readPem(rootPem, "CERTIFICATE", "root");
  if (rootDer === undefined) throw new Error("no root certificate in the vectors");
  return { rootPem, rootDer };
}
