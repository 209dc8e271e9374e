/** The end of a switch over a union: does not compile where a member has no branch. */
export function assertNever(value: never): never {
  throw new Error(`unexpected ${JSON.stringify(value)}`);
}
