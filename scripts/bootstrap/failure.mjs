/**
 * An expected end of the bootstrap: what was checked and found, and the command that mends it.
 * Printed without a stack trace.
 */
export class Failure extends Error {
  /**
   * @param {string} message what was checked, expected and found
   * @param {string} mend the command, or the one sentence, that mends it
   * @param {unknown} [cause]
   */
  constructor(message, mend, cause) {
    super(message, { cause });
    this.name = "Failure";
    this.mend = mend;
  }
}
