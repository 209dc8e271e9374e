import type { Attestation } from "@dstack/attest";
import { equalBytes, parseHex } from "@dstack/bytes";
import { readDstackExtensions } from "@dstack/ratls";
import { evidenceFromJson } from "@dstack/verify";
import { randomBytes } from "node:crypto";
import { attestationOf, jsonOf, readEvidence, textOf } from "../evidence/read-evidence.ts";
import { CliError } from "../terminal/errors.ts";
import { isBundle, readBundle } from "../verify/bundle.ts";
import { certificateRefusal, derOf, publicKeyInfoOf } from "../verify/certificates.ts";
import { fetchApp, fetchGateway, fetchKms } from "../verify/fetch-subject.ts";
import type { Subject } from "../verify/subject.ts";

/** A quote whose platform is asked about. */
export interface FoundQuote {
  /** "app", "KMS", "gateway", or the file. */
  readonly name: string;
  readonly quote: Uint8Array;
}

/** The quotes in a file: a quote, an attestation, a certificate, an agent's answer, a bundle. @throws CliError */
export function quotesInFile(bytes: Uint8Array, file: string): readonly FoundQuote[] {
  const text = textOf(bytes);
  const value = text === undefined ? undefined : jsonOf(text);
  if (isBundle(value)) return quotesOf(readBundle(value, file).subject);
  const evidence = readEvidence(bytes);
  const quote = evidence?.kind === "quote" ? evidence.bytes : evidence && attestationOf(evidence)?.platform.quote;
  if (quote === undefined) throw new CliError("failed", `${file} holds no quote, no evidence and no evidence bundle`);
  return [{ name: file, quote }];
}

/**
 * Asks whoever is at the URL: an app where its name begins with an app id, else a KMS, a gateway, an app.
 * @throws CliError with what each answered
 */
export async function quotesAt(url: URL, caFile: string | undefined): Promise<readonly FoundQuote[]> {
  const asked = {
    app: () => fetchApp({ url, caFile, nonce: randomBytes(32), kmsUrl: undefined }),
    KMS: () => fetchKms(url),
    gateway: () => fetchGateway(url, caFile),
  };
  const kinds = /^[0-9a-f]{40}\b/i.test(url.hostname) ? (["app"] as const) : (["KMS", "gateway", "app"] as const);
  const failures: string[] = [];
  for (const kind of kinds) {
    try {
      return quotesOf(await asked[kind]());
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      failures.push(kinds.length === 1 ? error.message : `no ${kind}: ${error.message}`);
    }
  }
  throw new CliError("failed", failures.join("; "));
}

/** The platforms of what was fetched: its own, and that of the gateway that holds the TLS key. */
function quotesOf(subject: Subject): readonly FoundQuote[] {
  switch (subject.kind) {
    case "evidence":
      return [found("evidence", () => evidenceFromJson(subject.evidence).attestation)];
    case "app":
      return [
        found("app", () => evidenceFromJson(subject.evidence).attestation),
        ...(subject.acme_info === undefined ? [] : gatewayQuotes(subject.certificates, subject.acme_info)),
      ];
    case "kms": {
      const [leaf] = subject.certificates;
      return [found("KMS", () => (leaf === undefined ? undefined : readDstackExtensions(derOf(leaf)).attestation))];
    }
    case "gateway": {
      const quotes = gatewayQuotes(subject.certificates, subject.acme_info);
      if (quotes.length === 0)
        throw new CliError("failed", "the gateway lists no quote for the key that it serves: it may run outside a TEE");
      return quotes;
    }
  }
}

function gatewayQuotes(
  [leaf]: readonly string[],
  { quoted_hist_keys: keys }: Extract<Subject, { kind: "gateway" }>["acme_info"],
): readonly FoundQuote[] {
  const served = leaf === undefined ? undefined : publicKeyInfoOf(leaf);
  const own = keys.find(({ public_key }) => served !== undefined && equalBytes(parseHex(public_key), served));
  if (own === undefined || own.quote === "") return [];
  return [found("gateway", () => evidenceFromJson(jsonOf(own.quote)).attestation)];
}

function found(name: string, read: () => Attestation | undefined): FoundQuote {
  let attestation: Attestation | undefined;
  try {
    attestation = read();
  } catch (error) {
    const reason = certificateRefusal(error);
    if (reason === undefined) throw error;
    throw new CliError("failed", `the evidence of the ${name} cannot be read: ${reason}`, { cause: error });
  }
  if (attestation === undefined)
    throw new CliError(
      "failed",
      `the ${name} shows no evidence: it runs outside a TEE, or with attestation switched off`,
    );
  return { name, quote: attestation.platform.quote };
}
