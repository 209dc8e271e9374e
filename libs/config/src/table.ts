/** A TOML table or JSON object as it was read. */
export type Table = { [key: string]: unknown };

export const isTable = (value: unknown): value is Table =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** Tables merge key by key; everything else of `over` replaces what `base` has. */
export function mergeDeep(base: Table, over: Table): Table {
  const out: Table = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = out[key];
    out[key] = isTable(old) && isTable(value) ? mergeDeep(old, value) : value;
  }
  return out;
}
