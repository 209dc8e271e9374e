/** A word of a command that people copy into a shell. */
export const shellWord = (text: string): string =>
  /^[A-Za-z0-9_.@~^-]+$/.test(text) && !text.startsWith("-") && !text.startsWith("~")
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
