/** The single values of compose files, with the texts that docker compose takes for numbers and the like. */
import { listOf, mapOf, oneOf, scalar, setOf, type Shape } from "./shape.ts";

const FLAG = /^(?:y|yes|true|on|n|no|false|off)$/i;
const INTEGER = /^[-+]?\d{1,19}$/;
const FLOAT = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/;
const SIZE = /^(?:\d+(?:\.\d*)?|\.\d+) ?(?:[kKmMgGtTpP][iI]?[bB]?|[bB])?$/;
const DURATION = /^[-+]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/;

export const text = scalar("a text", (value) => typeof value === "string");
export const flag = scalar(
  "true or false",
  (value) => typeof value === "boolean" || (typeof value === "string" && FLAG.test(value)),
);
export const integer = scalar(
  "a whole number",
  (value) => Number.isInteger(value) || (typeof value === "string" && INTEGER.test(value)),
);
/** Docker compose takes a fraction where it is no text. */
export const loose = scalar(
  "a number",
  (value) => typeof value === "number" || (typeof value === "string" && INTEGER.test(value)),
);
export const natural = scalar(
  "a number from 0",
  (value) => (typeof value === "number" && value >= 0) || (typeof value === "string" && /^\+?\d{1,19}$/.test(value)),
);
export const number = scalar(
  "a number",
  (value) => typeof value === "number" || (typeof value === "string" && FLOAT.test(value)),
);
export const textOrNumber = scalar(
  "a text or a number",
  (value) => typeof value === "string" || typeof value === "number",
);
/** Bytes: a number, or a text such as `512m`. */
export const size = scalar(
  "a size such as 512m",
  (value) => typeof value === "number" || (typeof value === "string" && SIZE.test(value)),
);
export const wholeSize = scalar(
  "a size such as 512m",
  (value) => Number.isInteger(value) || (typeof value === "string" && SIZE.test(value)),
);
export const sizeText = scalar("a size such as 512M", (value) => typeof value === "string" && SIZE.test(value));
/** A text: units are written. */
export const duration = scalar(
  "a duration such as 30s, with its unit",
  (value) => typeof value === "string" && DURATION.test(value),
);
export const word = (...words: readonly string[]): Shape =>
  scalar(
    words.length === 1 ? `${words[0]}` : `one of ${words.join(", ")}`,
    (value) => words.includes(String(value)) && typeof value === "string",
  );

export const texts = setOf(text);
export const textOrList = oneOf({ scalar: text, list: listOf(text) });
/** `KEY: value`, or a list of `KEY=value`. */
export const pairs = oneOf({
  list: listOf(text),
  map: mapOf(
    scalar("a single value", () => true),
    /./,
  ),
});
export const command = oneOf({
  scalar: scalar(
    "a text with its quotes closed, or a list of texts",
    (value) => value === null || (typeof value === "string" && hasClosedQuotes(value)),
  ),
  list: listOf(text),
});

/** Whether a shell would find the end of every quote, and something behind a last backslash. */
function hasClosedQuotes(line: string): boolean {
  return /^(?:[^\\'"]|\\[^]|'[^']*'|"(?:[^\\"]|\\[^])*")*$/.test(line);
}
