import { collateralFromJson, trustAnchorFromPem } from "@dstack/attest";
import type { QuoteVerification, VerifyOptions } from "@dstack/attest";
import { verifyQuote } from "@dstack/attest/node";
import { forge } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";

/** Signs the scene and verifies it under its own root at its own time. */
export function verifyScene(scene: Scene, options: Partial<VerifyOptions> = {}): QuoteVerification {
  const { quote, collateral, rootPem, now } = forge(scene);
  return verifyQuote(quote, collateralFromJson(collateral), {
    now,
    trustAnchor: trustAnchorFromPem(rootPem),
    ...options,
  });
}

/** "check code" of each failed check, in order. */
export const failuresOf = ({ checks }: QuoteVerification): string[] =>
  checks.filter(({ result }) => result === "fail").map(({ name, code }) => `${name} ${code ?? "?"}`);
