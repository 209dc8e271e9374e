import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseHex } from "@dstack/bytes";
import { readPem } from "@dstack/der";
import type { Forged } from "../forge/forged-evidence.ts";

const FOLDER = resolve(import.meta.dirname, "../../../shared/vectors/attestation");

/** `skip` option for node:test. */
export const skip: string | false = existsSync(FOLDER) ? false : `no vectors at ${FOLDER}`;

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

const json = <T>(path: string): T => JSON.parse(readFileSync(join(FOLDER, path), "utf8")) as T;

/** Real quotes with their collateral, at a time when both were valid, under Intel's root. */
export function realEvidence(): (Forged & { readonly id: string })[] {
  const rootPem = readFileSync(join(FOLDER, "intel-sgx-root-ca.pem"), "utf8");
  return json<Pair[]>("pairs.json").map((pair) => ({
    id: pair.id,
    quote: new Uint8Array(readFileSync(join(FOLDER, pair.quote))),
    collateral: json(pair.collateral),
    now: pair.verify_at_unix,
    ...root(rootPem),
  }));
}

/** Made cases, each breaking one rule under a root of its own. */
export function syntheticEvidence(): (Forged & { readonly id: string })[] {
  return readdirSync(join(FOLDER, "synthetic"))
    .toSorted()
    .map((file) => {
      const {
        id,
        root_ca_pem: rootPem,
        quote_hex: quote,
        collateral,
        verify_at_unix: now,
      } = json<Synthetic>(`synthetic/${file}`);
      return { id, quote: parseHex(quote), collateral, now, ...root(rootPem) };
    });
}

function root(rootPem: string): { readonly rootPem: string; readonly rootDer: Uint8Array } {
  const [rootDer] = readPem(rootPem, "CERTIFICATE", "root");
  if (rootDer === undefined) throw new Error("no root certificate in the vectors");
  return { rootPem, rootDer };
}
