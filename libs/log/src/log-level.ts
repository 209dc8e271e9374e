/** From the fewest lines to the most; `off` says nothing at all. */
const LOG_LEVELS = ["off", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * The level that a text gives one part of the system: `debug` for all parts, `kms=debug` for one,
 * several with commas between them (`info,kms=debug`); what names the part wins. `dstack_kms` is
 * `kms`, as the reference's own programs are called. Parts that are not known and words that are no
 * level are passed over: the reference's settings name targets of its own.
 * @returns undefined where the text says nothing of the part
 */
function levelOf(text: string, part: string): LogLevel | undefined {
  let general: LogLevel | undefined;
  let own: LogLevel | undefined;
  for (const directive of text.split(",")) {
    const [first = "", second] = directive.split("=").map((word) => word.trim().toLowerCase());
    const level = LOG_LEVELS.find((known) => known === (second ?? first));
    if (level === undefined) continue;
    if (second === undefined) general = level;
    else if (first.replace(/^dstack[-_]/, "").replaceAll("_", "-") === part) own = level;
  }
  return own ?? general;
}

/** What the one switch of all programs asks for, else the reference's own, else `configured`, else `info`. */
export function chosenLevel(
  part: string,
  env: Readonly<Record<string, string | undefined>>,
  configured = "info",
): LogLevel {
  for (const text of [env["DSTACK_LOG_LEVEL"] ?? "", env["RUST_LOG"] ?? "", configured]) {
    const level = levelOf(text, part);
    if (level !== undefined) return level;
  }
  return "info";
}
