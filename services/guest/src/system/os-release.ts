/**
 * Value of one name in an os-release file; undefined where it is not set. A double-quoted value
 * unescapes any character after a backslash, a single-quoted one is literal, one with unbalanced
 * quotes is taken as it stands.
 */
export function osReleaseValue(text: string, name: string): string | undefined {
  const line = text.split("\n").find((candidate) => candidate.trimStart().startsWith(`${name}=`));
  return line === undefined ? undefined : unquoteOsRelease(line.slice(line.indexOf("=") + 1));
}

export function unquoteOsRelease(raw: string): string {
  const text = raw.trim();
  const quote = text[0];
  if (text.length < 2 || (quote !== '"' && quote !== "'") || text.at(-1) !== quote) return text;
  const inner = text.slice(1, -1);
  return quote === "'" ? inner : inner.replaceAll(/\\([\s\S])/g, "$1");
}
