/** `code` of a system error, e.g. `ENOENT`; undefined where the error is none of the system's. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** For `.catch`: passes over that a file is not there; any other error is thrown. */
export function ignoreMissing(error: unknown): void {
  if (systemCode(error) !== "ENOENT") throw error;
}
