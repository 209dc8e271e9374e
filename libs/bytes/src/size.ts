import { BytesError } from "./errors.ts";

const U64_MAX = (1n << 64n) - 1n;
const KIB = 1024n;
const MIB = KIB ** 2n;
const GIB = KIB ** 3n;
const TIB = KIB ** 4n;

/** What one format takes as a size; all else is the same in all of them. */
export interface SizeGrammar {
  /** Bytes of each suffix, in lower case; the empty one is a number without. */
  readonly units: Readonly<Record<string, bigint>>;
  readonly hex?: boolean;
  readonly fraction?: boolean;
  /** Whether blanks may stand before the suffix. */
  readonly blanks?: boolean;
}

const AMOUNTS = { m: MIB, mb: MIB, g: GIB, gb: GIB, t: TIB, tb: TIB };

export const SIZE_GRAMMARS = {
  // Manifests and vmm.toml, 0.5.5 to 0.6.0: "4G" or "0x1000"; no fraction, no "KB".
  size: { units: { "": 1n, k: KIB, m: MIB, g: GIB, t: TIB }, hex: true },
  // [limits] of kms.toml: the byte units of the reference's web framework, in which "MB" is not "MiB".
  bodyLimit: {
    units: { "": 1n, b: 1n, kb: 1000n, kib: KIB, mb: 1_000_000n, mib: MIB },
    blanks: true,
  },
  // --memory of the reference's command line: MiB unless said otherwise, "1.5GB" too.
  memory: { units: { "": MIB, b: MIB, ...AMOUNTS }, fraction: true, blanks: true },
  // --disk of the reference's command line: the same in GiB.
  disk: { units: { "": GIB, b: GIB, ...AMOUNTS }, fraction: true, blanks: true },
} as const satisfies Readonly<Record<string, SizeGrammar>>;

/**
 * A count of bytes: a whole number of them, or decimal digits with a suffix of the grammar, in
 * either case. The one reader of sizes in manifests, configurations and command lines.
 * @throws BytesError `size-invalid`
 */
export function parseSize(value: number | bigint | string, grammar: SizeGrammar = SIZE_GRAMMARS.size): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw invalid(String(value), "expected a whole number below 2^53, or text");
  const size = typeof value === "string" ? ofText(value, grammar) : BigInt(value);
  if (size < 0n || size > U64_MAX)
    throw new BytesError("size-invalid", `memory size "${String(value).slice(0, 80)}" does not fit in 64 bits`);
  return size;
}

function ofText(text: string, { units, hex = false, fraction = false, blanks = false }: SizeGrammar): bigint {
  const trimmed = text.trim();
  if (trimmed === "") throw new BytesError("size-invalid", "Empty memory size");
  // 64 digits cannot fit in 64 bits; the limit keeps BigInt from chewing on megabytes.
  if (trimmed.length > 80) throw invalid(text, "too long");
  if (hex && /^0[xX]/.test(trimmed)) {
    if (!/^0[xX][0-9a-fA-F]+$/.test(trimmed)) throw invalid(text, "expected hex digits after 0x");
    return BigInt(trimmed);
  }
  const [suffix] = /[a-z]*$/i.exec(trimmed) ?? [""];
  const unit = Object.hasOwn(units, suffix.toLowerCase()) ? units[suffix.toLowerCase()] : undefined;
  if (unit === undefined) throw new BytesError("size-invalid", `Unknown memory size suffix: ${suffix}`);
  const [, whole, part = "", gap = ""] =
    /^(\d+)(?:\.(\d+))?(\s*)$/.exec(trimmed.slice(0, trimmed.length - suffix.length)) ?? [];
  if (whole === undefined || (part !== "" && !fraction) || (gap !== "" && !blanks))
    throw invalid(text, "expected digits before the suffix");
  const scaled = BigInt(whole + part) * unit;
  const scale = 10n ** BigInt(part.length);
  if (scaled % scale !== 0n) throw invalid(text, "expected a whole number of bytes");
  return scaled / scale;
}

const invalid = (text: string, why: string): BytesError =>
  new BytesError("size-invalid", `memory size "${text.slice(0, 80)}": ${why}`);
