/** Whether a value from JSON is a whole number within these bounds. */
export const isIntegerIn = (value: unknown, least: number, most: number): value is number =>
  Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
