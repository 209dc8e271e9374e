/** A code whose table says what a person does next as well. */
export interface ErrorRow {
  /** One sentence without a full stop. */
  readonly meaning: string;
  /** What to type or to change, or that there is nothing to do on this side and who has to. */
  readonly next: string;
}

/**
 * The codes of one package and what each means, one sentence without a full stop; daemons that refuse
 * say the next step too. docs/reference/errors.md is printed from these tables.
 */
export type ErrorTable = Readonly<Record<string, string | ErrorRow>>;
