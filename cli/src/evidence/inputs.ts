import { parseJson, utf8Decode } from "@dstack/bytes";
import { readFile, stat } from "node:fs/promises";
import {
  intelTrustAnchor,
  parsePolicyText,
  trustAnchorFromPem,
  type QuotePolicy,
  type TrustAnchor,
} from "@dstack/attest";
import { CliError } from "../terminal/errors.ts";

/** A bundle may hold the files of an image. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** @throws CliError `not-found`, `failed` for a file that is too large */
export async function readInput(file: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(file);
    if (size > MAX_FILE_BYTES)
      throw new CliError("failed", `${file} has ${size} bytes, at most ${MAX_FILE_BYTES} are read`);
    return await readFile(file);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("not-found", `${file} cannot be read`, { cause });
  }
}

/** @throws CliError `not-found`, `failed` where the file is not JSON */
export async function readJson(file: string): Promise<unknown> {
  const bytes = await readInput(file);
  try {
    return parseJson(utf8Decode(bytes, file), file);
  } catch (cause) {
    throw new CliError("failed", `${file}: not valid JSON`, { cause });
  }
}

/** The root in a PEM file; Intel's, which is built in, without one. @throws CliError; AttestError `trust-anchor-invalid` */
export async function readAnchor(file: string | undefined): Promise<TrustAnchor> {
  return file === undefined ? intelTrustAnchor() : trustAnchorFromPem(new TextDecoder().decode(await readInput(file)));
}

/** @throws CliError; AttestError `policy-malformed` */
export async function readPolicy(file: string | undefined): Promise<QuotePolicy | undefined> {
  return file === undefined ? undefined : parsePolicyText(new TextDecoder().decode(await readInput(file)));
}

/** Unix seconds of RFC 3339 text; now without one. @throws CliError `usage` */
export function readTime(text: string | undefined): number {
  const milliseconds =
    text === undefined
      ? Date.now()
      : /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text)
        ? Date.parse(text)
        : Number.NaN;
  if (Number.isNaN(milliseconds))
    throw new CliError("usage", `--time ${text}: expected RFC 3339, like 2026-03-01T00:00:00Z`);
  return Math.floor(milliseconds / 1000);
}
