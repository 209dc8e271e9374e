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

const TIMESTAMP =
  /^(\d{4})-(\d{1,2})-(\d{1,2})(?:(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.\d+)?(?:Z|[-+](\d\d):(\d\d))| +(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.\d+)?))?$/;

/** Whether a plain word is a date to docker compose, which then is no text to it. */
export function isTimestamp(text: string): boolean {
  const match = TIMESTAMP.exec(text);
  if (match === null) return false;
  const [year = 0, month = 0, day = 0, h1 = 0, m1 = 0, s1 = 0, zh = 0, zm = 0, h2 = 0, m2 = 0, s2 = 0] = match
    .slice(1)
    .map((part) => Number(part ?? 0));
  const days = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  return (
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= days &&
    Math.max(h1, h2, zh) < 24 &&
    Math.max(m1, m2, s1, s2, zm) < 60
  );
}
