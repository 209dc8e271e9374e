/** Provisioning services in a test's hand: what they serve, when, and what was asked. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { parseHex } from "@dstack/bytes";
import { AttestError, parseQuote, trustAnchorFromPem } from "@dstack/attest";
import { CollateralFetcher } from "@dstack/attest/node";
import type { CollateralFetcherOptions } from "@dstack/attest/node";
import { forge, goodScene } from "../../../tests/forge/forged-evidence.ts";
import type { Forged } from "../../../tests/forge/forged-evidence.ts";

export const HOUR = 3_600_000;
// Files carry the system's time, so the clock of these tests starts there.
export const start = Math.floor(Date.now() / 1000) * 1000;
export const scene = goodScene(start / 1000);
export const forged = forge(scene);
export const trustAnchor = trustAnchorFromPem(forged.rootPem);
export const quote = parseQuote(forged.quote);
const root = mkdtempSync(join(tmpdir(), "dstack-collateral-"));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
export const folder = (): string => join(root, String(folders++));

type Answer = Response | Promise<Response>;
export type Handler = (url: URL, signal: AbortSignal) => Answer | undefined;

/** A provisioning service that serves this evidence's collateral, as PCCS do. */
export function pccs({ collateral }: Forged): Handler {
  const chain = (name: string): string => encodeURIComponent(collateral[name] ?? "");
  return ({ pathname }) => {
    if (pathname.endsWith("/pckcrl"))
      return new Response(parseHex(collateral["pck_crl"] ?? "").slice(), {
        headers: { "SGX-PCK-CRL-Issuer-Chain": chain("pck_crl_issuer_chain") },
      });
    if (pathname.endsWith("/rootcacrl")) return new Response(collateral["root_ca_crl"] ?? "");
    if (pathname.endsWith("/tcb"))
      return new Response(`{"tcbInfo":${collateral["tcb_info"]},"signature":"${collateral["tcb_info_signature"]}"}`, {
        headers: { "TCB-Info-Issuer-Chain": chain("tcb_info_issuer_chain") },
      });
    if (pathname.endsWith("/qe/identity"))
      return new Response(
        `{"enclaveIdentity":${collateral["qe_identity"]},"signature":"${collateral["qe_identity_signature"]}"}`,
        { headers: { "SGX-Enclave-Identity-Issuer-Chain": chain("qe_identity_issuer_chain") } },
      );
    return undefined;
  };
}

export class World {
  now = start;
  readonly requests: string[] = [];
  readonly problems: string[] = [];
  handler: Handler;

  constructor(handler: Handler = pccs(forged)) {
    this.handler = handler;
  }

  readonly fetch = async (input: unknown, init?: RequestInit): Promise<Response> => {
    const url = new URL(String(input));
    this.requests.push(`${url.host}${url.pathname}${url.search}`);
    const answer = await this.handler(url, init?.signal ?? new AbortController().signal);
    return answer ?? new Response("", { status: 404 });
  };

  fetcher(options: Partial<CollateralFetcherOptions> = {}): CollateralFetcher {
    return new CollateralFetcher({
      endpoints: ["https://pccs.example"],
      trustAnchor,
      clock: { now: () => this.now },
      fetch: this.fetch as typeof fetch,
      onProblem: (problem) => this.problems.push(problem.message),
      ...options,
    });
  }

  /** Requests since the last call. */
  taken(): number {
    return this.requests.splice(0).length;
  }
}

export const code =
  (expected: string, says = /./) =>
  (error: unknown): true => {
    assert.ok(error instanceof AttestError, String(error));
    assert.equal(error.code, expected, error.message);
    assert.match(error.message, says);
    return true;
  };

export const writtenAt = (path: string, ms: number): void => utimesSync(path, ms / 1000, ms / 1000);

export async function settled(done: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2000 && !done(); turn++)
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  assert.ok(done(), "in time");
}
