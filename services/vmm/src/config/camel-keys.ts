type CamelKey<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelKey<Tail>>}` : S;

/** A value whose objects have their snake_case keys in camelCase, all the way down. */
export type CamelKeys<T> = T extends readonly (infer Item)[]
  ? readonly CamelKeys<Item>[]
  : T extends object
    ? { readonly [Key in keyof T as Key extends string ? CamelKey<Key> : Key]: CamelKeys<T[Key]> }
    : T;

/** Names as files have them to names as code has them; a key without underscores stays. */
export function camelKeys<T>(value: T): CamelKeys<T> {
  if (Array.isArray(value)) return value.map((item: unknown) => camelKeys(item)) as CamelKeys<T>;
  if (typeof value !== "object" || value === null) return value as CamelKeys<T>;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase()),
      camelKeys(member as unknown),
    ]),
  ) as CamelKeys<T>;
}
