import { customReportData, type AppInfo } from "@dstack/attest";
import { equalBytes, parseHex, parseJson, toHex, utf8 } from "@dstack/bytes";
import { isCoded } from "@dstack/errors";
import { evidenceFromJson, evidenceRefusal, judgeChecks } from "@dstack/verify";
import { judgeEvidence, requiredOf, type VerifyContext } from "./context.ts";
import type { AcmeInfo } from "./subject.ts";

/** What a gateway's own list says about one of its keys. */
export type QuotedKey =
  | { readonly kind: "verified"; readonly appInfo: AppInfo }
  /** Listed without a quote: the gateway says so, and proves nothing. */
  | { readonly kind: "unquoted" }
  /** The quote may hold, but something that the verdict needs is not at hand. */
  | { readonly kind: "undecided"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

/** Verifies that a quote names this certificate key (SubjectPublicKeyInfo). */
export const judgeCertificateKey = (publicKey: Uint8Array, quote: string, context: VerifyContext): Promise<QuotedKey> =>
  judgeQuoted(quote, "zt-cert", publicKey, context);

/** Verifies that a quote names this ACME account. */
export const judgeAccount = (accountUri: string, quote: string, context: VerifyContext): Promise<QuotedKey> =>
  judgeQuoted(quote, "acme-account", utf8(accountUri), context);

/** The entry of the list with this key. */
export function listedKey(
  { quoted_hist_keys: keys }: AcmeInfo,
  publicKey: Uint8Array,
): AcmeInfo["quoted_hist_keys"][number] | undefined {
  return keys.find((key) => equalBytes(parseHex(key.public_key), publicKey));
}

async function judgeQuoted(
  quote: string,
  tag: string,
  content: Uint8Array,
  context: VerifyContext,
): Promise<QuotedKey> {
  if (quote === "") return { kind: "unquoted" };
  try {
    const evidence = evidenceFromJson(parseJson(quote, "quote"));
    const { attestation, checks } = await judgeEvidence(evidence, context, customReportData(tag, content));
    const verdict = judgeChecks(checks, requiredOf(context));
    if (verdict.kind === "verified" && attestation.ok) return { kind: "verified", appInfo: attestation.appInfo };
    return {
      kind: verdict.kind === "incomplete" ? "undecided" : "refused",
      reason: verdict.kind === "verified" ? "the quote is not verified" : verdict.reason,
    };
  } catch (error) {
    const reason = isCoded(error, "json-invalid", "json-repeated", "json-ill-formed")
      ? error.message
      : evidenceRefusal(error);
    if (reason === undefined) throw error;
    return { kind: "refused", reason };
  }
}

export const describeApp = ({ appId, composeHash }: AppInfo): string =>
  `app ${toHex(appId)}, compose hash ${toHex(composeHash)}`;
