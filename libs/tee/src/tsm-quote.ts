/**
 * Quotes through configfs-tsm (Documentation/ABI/testing/configfs-tsm-report): write 64 bytes to
 * `inblob`, `generation` goes up by one, read `outblob`, see that `generation` stood still.
 */
import { mkdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { ReportData } from "@dstack/bytes";
import { systemCode } from "@dstack/errors";
import { readAttribute, readAttributeText, writeAttribute } from "./attribute.ts";
import { TeeError } from "./errors.ts";

export interface QuoteOptions {
  /** Deadline for the whole; 60,000 unless given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const MIN_QUOTE = 1021;
const MAX_QUOTE = 8191;
const POLL_MS = 10;
const RETRIED: ReadonlySet<string | undefined> = new Set(["EBUSY", "EAGAIN", "EINTR", "ETIMEDOUT"]);

/**
 * A quote over this report data. One at a time per guest: the caller holds the lock.
 * @param folder the report folder, made where it is missing
 * @throws TeeError `tee-unavailable`, `quote-timeout`, `quote-invalid`, `aborted`
 */
export async function tsmQuote(
  folder: string,
  reportData: ReportData,
  options: QuoteOptions = {},
): Promise<Uint8Array> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  await prepare(folder);
  let last = "no attempt was made";
  while (!signal.aborted) {
    const attempt = await attemptQuote(folder, reportData, signal);
    if (attempt.kind === "quote") return attempt.quote;
    last = attempt.reason;
    await pause(POLL_MS, signal);
  }
  if (options.signal?.aborted === true) throw new TeeError("aborted", "quote: the wait was aborted");
  throw new TeeError("quote-timeout", `quote: none after ${timeoutMs} ms; last: ${last}`);
}

type Attempt =
  | { readonly kind: "quote"; readonly quote: Uint8Array }
  | { readonly kind: "again"; readonly reason: string };

async function attemptQuote(folder: string, reportData: ReportData, signal: AbortSignal): Promise<Attempt> {
  try {
    const before = await generation(folder);
    await writeAttribute(`${folder}/inblob`, reportData);
    let now = await generation(folder);
    while (now === before && !signal.aborted) {
      await pause(POLL_MS, signal);
      now = await generation(folder);
    }
    if (now !== before + 1n) return { kind: "again", reason: `generation went from ${before} to ${now}` };
    const quote = await readAttribute(`${folder}/outblob`, MAX_QUOTE);
    const after = await generation(folder);
    if (after !== now) return { kind: "again", reason: "another process asked for a quote at the same time" };
    if (quote.length < MIN_QUOTE)
      throw new TeeError("quote-invalid", `quote: ${quote.length} bytes, expected ${MIN_QUOTE} to ${MAX_QUOTE}`);
    return { kind: "quote", quote };
  } catch (error) {
    if (RETRIED.has(systemCode(error))) return { kind: "again", reason: systemCode(error) ?? "" };
    if (error instanceof TeeError) throw error;
    throw new TeeError("quote-invalid", `quote: ${folder}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

async function prepare(folder: string): Promise<void> {
  let provider: string;
  try {
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (systemCode(error) !== "EEXIST") throw error;
    });
    provider = await readAttributeText(`${folder}/provider`);
  } catch (cause) {
    throw new TeeError(
      "tee-unavailable",
      `quotes are not available: need configfs-tsm at ${folder} ` +
        "(a TDX guest with the modules tsm_reports and tdx_guest)",
      { cause },
    );
  }
  if (!provider.startsWith("tdx_guest"))
    throw new TeeError("tee-unavailable", `quotes come from "${provider}", expected tdx_guest`);
}

async function generation(folder: string): Promise<bigint> {
  const text = await readAttributeText(`${folder}/generation`);
  if (!/^\d{1,20}$/.test(text)) throw new TeeError("quote-invalid", "configfs-tsm: generation is not a number");
  return BigInt(text);
}

/** Returns early, not with an error, when the signal fires: the loops look at it themselves. */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
