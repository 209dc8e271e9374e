/**
 * The codes of one package and what each means, one sentence without a full stop.
 * docs/reference/errors.md is printed from these tables.
 */
export type ErrorTable = Readonly<Record<string, string>>;
