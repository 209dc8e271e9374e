/** What a plain word of YAML means to docker compose, whose reader mixes YAML 1.1 and 1.2. */

const NULL: ReadonlySet<string> = new Set(["", "~", "null", "Null", "NULL"]);
const TRUE: ReadonlySet<string> = new Set(["true", "True", "TRUE"]);
const FALSE: ReadonlySet<string> = new Set(["false", "False", "FALSE"]);
const SPECIAL: Readonly<Record<string, number>> = {
  ".inf": Infinity,
  ".Inf": Infinity,
  ".INF": Infinity,
  "+.inf": Infinity,
  "+.Inf": Infinity,
  "+.INF": Infinity,
  "-.inf": -Infinity,
  "-.Inf": -Infinity,
  "-.INF": -Infinity,
  ".nan": NaN,
  ".NaN": NaN,
  ".NAN": NaN,
};
const DIGITS = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))$/;
const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;

/**
 * Null, boolean, number or text. `yes`, `on` and `22:22` are texts; `0777` is octal; `1_000` is a
 * number; a date is a text to whoever asks for one.
 */
export function plainScalar(text: string): string | number | boolean | null {
  if (NULL.has(text)) return null;
  if (TRUE.has(text)) return true;
  if (FALSE.has(text)) return false;
  if (!/^[-+.0-9]/.test(text)) return text;
  const special = SPECIAL[text];
  if (special !== undefined) return special;
  const plain = text.replaceAll("_", "");
  const match = DIGITS.exec(plain);
  if (match !== null) {
    const [, sign = "", hex, binary, octal, decimal = "0"] = match;
    const size =
      hex !== undefined
        ? Number.parseInt(hex, 16)
        : binary !== undefined
          ? Number.parseInt(binary, 2)
          : octal !== undefined
            ? Number.parseInt(octal, 8)
            : Number(decimal);
    return sign === "-" ? -size : size;
  }
  return FLOAT.test(plain) ? Number(plain) : text;
}
