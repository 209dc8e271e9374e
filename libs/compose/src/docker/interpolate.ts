/** `$NAME`, `${NAME}`, `${NAME:-default}` and the like, as docker compose 2.26 fills them in. */
import { ComposeError } from "../errors.ts";
import type { TextPart } from "./node.ts";

/** What is known of the environment that the file will be run in. */
export interface Variables {
  readonly values: ReadonlyMap<string, string>;
  /** Whether all variables are in `values`: what is not there is then unset rather than unknown. */
  readonly areAll: boolean;
}

export interface Interpolated {
  /** Undefined where an unknown variable without a default decides. */
  readonly text: string | undefined;
  readonly parts: readonly TextPart[];
  readonly variables: readonly string[];
  /** The variable that must have a value (`:?`) and is known to have none, with the file's own words. */
  readonly missing: { readonly variable: string; readonly message: string } | undefined;
}

const NAME = /^[_a-zA-Z][_a-zA-Z0-9]*/;
const MAX_DEPTH = 100;

/**
 * Fills in the variables of one text. A default counts where its variable is not known to be set.
 * @throws ComposeError `interpolation-invalid` for a `${` that begins nothing
 */
export function interpolate(raw: string, variables: Variables): Interpolated {
  if (!raw.includes("$"))
    return {
      text: raw,
      parts: [{ text: raw, from: "literal", start: 0, end: raw.length, variables: [] }],
      variables: [],
      missing: undefined,
    };
  const state: State = { variables, named: new Set(), missing: undefined };
  const parts = readParts(raw, 0, raw.length, state, 0);
  return {
    text: parts.some((part) => part === undefined) ? undefined : joined(parts),
    parts: parts.filter((part) => part !== undefined),
    variables: [...state.named],
    missing: state.missing,
  };
}

interface State {
  readonly variables: Variables;
  readonly named: Set<string>;
  missing: Interpolated["missing"];
}

/** Undefined stands for what is not known. */
type Parts = readonly (TextPart | undefined)[];

const joined = (parts: Parts): string => parts.map((part) => part?.text ?? "").join("");

function readParts(raw: string, from: number, to: number, state: State, depth: number): Parts {
  if (depth > MAX_DEPTH)
    throw new ComposeError("interpolation-invalid", `variables nest deeper than ${MAX_DEPTH} in ${excerpt(raw)}`);
  const parts: (TextPart | undefined)[] = [];
  const literal = (start: number, end: number, text = raw.slice(start, end)): void => {
    if (end > start) parts.push({ text, from: "literal", start, end, variables: [] });
  };
  let at = from;
  while (at < to) {
    const dollar = raw.indexOf("$", at);
    if (dollar < 0 || dollar >= to) {
      literal(at, to);
      break;
    }
    literal(at, dollar);
    const next = raw[dollar + 1];
    if (next === "$") {
      literal(dollar, dollar + 2, "$");
      at = dollar + 2;
    } else if (next === "{") {
      const close = closingBrace(raw, dollar, to);
      parts.push(...braced(raw, dollar, close, state, depth));
      at = close + 1;
    } else {
      const name = NAME.exec(raw.slice(dollar + 1, to))?.[0];
      if (name === undefined) {
        // A dollar sign before anything else is one.
        literal(dollar, dollar + 1);
        at = dollar + 1;
        continue;
      }
      parts.push(valueOf(name, dollar, dollar + 1 + name.length, state));
      at = dollar + 1 + name.length;
    }
  }
  return parts;
}

/** `${NAME}` and `${NAME` with one of `:-` `-` `:?` `?` `:+` `+` and a text. */
function braced(raw: string, dollar: number, close: number, state: State, depth: number): Parts {
  const inner = raw.slice(dollar + 2, close);
  const name = NAME.exec(inner)?.[0];
  if (name === undefined) throw invalid(raw);
  const operator = /^:?[-?+]/.exec(inner.slice(name.length))?.[0];
  if (operator === undefined) {
    if (inner.length > name.length) throw invalid(raw);
    return [valueOf(name, dollar, close + 1, state)];
  }
  state.named.add(name);
  const start = dollar + 2 + name.length + operator.length;
  const { values, areAll } = state.variables;
  const value = values.get(name);
  const isKnown = value !== undefined || areAll;
  const isSet = value !== undefined && (!operator.startsWith(":") || value !== "");
  const whole = (text: string): TextPart => ({
    text,
    from: "variable",
    start: dollar,
    end: close + 1,
    variables: [name],
  });
  // An empty default is a part as well: its variable has a say.
  const written = (): Parts =>
    (start === close ? [emptyAt(start)] : readParts(raw, start, close, state, depth + 1)).map((part) =>
      part === undefined
        ? part
        : {
            ...part,
            from: part.from === "literal" ? ("default" as const) : part.from,
            variables: [name, ...part.variables],
          },
    );
  switch (operator.at(-1)) {
    case "-":
      return isSet ? [whole(value)] : written();
    case "?": {
      if (isSet) return [whole(value)];
      if (isKnown)
        state.missing ??= { variable: name, message: joined(readParts(raw, start, close, state, depth + 1)) };
      return [undefined];
    }
    default:
      if (!isKnown) return [undefined];
      return isSet ? written() : [whole("")];
  }
}

const emptyAt = (at: number): TextPart => ({ text: "", from: "literal", start: at, end: at, variables: [] });

function valueOf(name: string, start: number, end: number, { variables, named }: State): TextPart | undefined {
  named.add(name);
  const value = variables.values.get(name) ?? (variables.areAll ? "" : undefined);
  return value === undefined ? undefined : { text: value, from: "variable", start, end, variables: [name] };
}

function closingBrace(raw: string, dollar: number, to: number): number {
  let open = 0;
  for (let i = dollar; i < to; i++) {
    if (raw[i] === "}") {
      open -= 1;
      if (open === 0) return i;
    } else if (raw[i] === "$" && raw[i + 1] === "{") {
      open += 1;
      i += 1;
    }
  }
  throw invalid(raw);
}

const invalid = (raw: string): ComposeError =>
  new ComposeError(
    "interpolation-invalid",
    `${excerpt(raw)} is no valid use of a variable; a dollar sign that stands for itself is written $$`,
  );

const excerpt = (raw: string): string => JSON.stringify(raw.length > 80 ? `${raw.slice(0, 80)}...` : raw);
