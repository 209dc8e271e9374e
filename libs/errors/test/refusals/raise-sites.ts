import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The checkout. */
export const ROOT = join(import.meta.dirname, "../../../..");

/** One place in the sources that makes an error of a class. */
export interface RaiseSite {
  /** Relative to the checkout. */
  readonly file: string;
  readonly line: number;
  /** The codes that stand in the first argument; none where it is taken from another error. */
  readonly codes: readonly string[];
  /** The second argument, as it stands in the source. */
  readonly text: string;
  /** All arguments behind the code. */
  readonly rest: string;
}

/** Every `new NAME(…)` below a folder's `src`. */
export function raiseSites(folder: string, name: string): RaiseSite[] {
  return globSync(`${folder}/src/**/*.ts`, { cwd: ROOT })
    .toSorted()
    .flatMap((file) => {
      const source = readFileSync(join(ROOT, file), "utf8");
      return [...source.matchAll(new RegExp(`\\bnew ${name}\\(`, "g"))].map((match) => {
        const [first = "", ...rest] = argumentsAt(source, match.index + match[0].length);
        return {
          file,
          line: source.slice(0, match.index).split("\n").length,
          codes: [...first.matchAll(/"([a-z][a-z0-9-]*)"/g)].map(([, code = ""]) => code),
          text: (rest[0] ?? "").trim(),
          rest: rest.join(",").trim(),
        };
      });
    });
}

/**
 * Whether the text carries something of what was seen: a placeholder, a text made elsewhere, a cause, or facts. Where
 * it is only words, the list of such texts says why.
 */
export const saysWhatItSaw = ({ text, rest }: RaiseSite): boolean =>
  text.includes("${") || /\b(?:cause|facts)\b/.test(rest) || !/["`]/.test(text) || text.startsWith("[");

/** The arguments of a call, from behind its opening parenthesis; strings and templates are passed over whole. */
function argumentsAt(source: string, start: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let from = start;
  for (let at = start; at < source.length; at++) {
    const character = source[at] ?? "";
    if (character === '"' || character === "`") at = endOfText(source, at);
    else if ("([{".includes(character)) depth++;
    else if (")]}".includes(character)) {
      if (depth === 0) return [...found, source.slice(from, at)].filter((text) => text.trim() !== "");
      depth--;
    } else if (character === "," && depth === 0) {
      found.push(source.slice(from, at));
      from = at + 1;
    }
  }
  throw new Error("a call without an end");
}

/** The index of the quotation mark that ends what begins here. */
function endOfText(source: string, start: number): number {
  const quote = source[start];
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === "\\") at++;
    else if (source[at] === quote) return at;
    else if (quote === "`" && source.startsWith("${", at)) at = endOfPlaceholder(source, at + 2);
  }
  throw new Error("a text without an end");
}

function endOfPlaceholder(source: string, start: number): number {
  let depth = 0;
  for (let at = start; at < source.length; at++) {
    const character = source[at] ?? "";
    if (character === '"' || character === "`") at = endOfText(source, at);
    else if (character === "{") depth++;
    else if (character === "}" && depth-- === 0) return at;
  }
  throw new Error("a placeholder without an end");
}
