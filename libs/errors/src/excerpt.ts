/** Control characters; those that are not seen; those that reorder what is seen, so that it reads as something else. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const DEFAULT_MAX_CHARS = 256;

/** Text from elsewhere with such characters written out, so that it can neither move a cursor nor hide anything. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

export interface ExcerptOptions {
  /** 256 unless given. */
  readonly maxChars?: number;
  /** Line ends stay, for texts that are meant to have several lines. */
  readonly lines?: boolean;
}

/**
 * What of a stranger's text enters a log line, an error or an answer of ours: its beginning, never
 * cut inside a character, control characters visible.
 */
export function excerpt(text: string, { maxChars = DEFAULT_MAX_CHARS, lines = false }: ExcerptOptions = {}): string {
  const beginning = Array.from(text.slice(0, 2 * maxChars))
    .slice(0, maxChars)
    .join("");
  return lines ? beginning.split("\n").map(visible).join("\n") : visible(beginning);
}
