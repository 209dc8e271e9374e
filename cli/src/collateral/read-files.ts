import { parseJson, utf8Decode } from "@dstack/bytes";
import {
  AttestError,
  collateralFromJson,
  parseQuote,
  quoteBytesOf,
  type Quote,
  type QuoteCollateral,
} from "@dstack/attest";
import { readInput } from "../evidence/inputs.ts";
import { CliError } from "../terminal/errors.ts";

/** A quote, binary or hex. @throws CliError; AttestError */
export async function readQuoteFile(file: string): Promise<Quote> {
  return parseQuote(quoteBytesOf(await readInput(file)));
}

/** Collateral in the exchange form. @throws CliError; AttestError */
export async function readCollateralFile(file: string): Promise<QuoteCollateral> {
  const bytes = await readInput(file);
  try {
    return collateralFromJson(parseJson(utf8Decode(bytes, file), file));
  } catch (cause) {
    if (cause instanceof AttestError) throw cause;
    throw new CliError("failed", `${file}: not valid JSON, expected collateral in the exchange form`, { cause });
  }
}
