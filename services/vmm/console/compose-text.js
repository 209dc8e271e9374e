/**
 * An app's manifest with another compose file in it, byte for byte the same elsewhere: its hash is
 * what the policy allows and what the guest measures, so nothing may be written anew on the way.
 */

/** The compose file as a text area shows it: with LF alone, whatever the file has. */
export const shownCompose = (compose) => compose.replaceAll(/\r\n?/g, "\n");

/**
 * @param manifestText app-compose.json as the VMM has it
 * @param shown the compose file as the text area has it now
 * @returns the new text, the very same one where nothing was changed
 */
export function withCompose(manifestText, shown) {
  const old = JSON.parse(manifestText).docker_compose_file;
  if (shown === shownCompose(old)) return manifestText;
  // A file from Windows stays one.
  const isCrlf = old.includes("\r\n") && !/(?<!\r)\n/.test(old);
  const { start, end } = rangeOf(manifestText, "docker_compose_file");
  const compose = isCrlf ? shown.replaceAll("\n", "\r\n") : shown;
  return manifestText.slice(0, start) + JSON.stringify(compose) + manifestText.slice(end);
}

/** Where a member of the outermost object has its value, a string, in JSON that was parsed before. */
function rangeOf(text, name) {
  let depth = 0;
  let found;
  for (let at = 0; at < text.length; at++) {
    if ("{[".includes(text[at])) depth++;
    if ("}]".includes(text[at])) depth--;
    if (text[at] !== '"') continue;
    const end = endOfString(text, at);
    const value = /^\s*:\s*(?=")/.exec(text.slice(end));
    if (depth === 1 && value !== null && JSON.parse(text.slice(at, end)) === name) {
      const start = end + value[0].length;
      found = { start, end: endOfString(text, start) };
    }
    at = end - 1;
  }
  if (found === undefined) throw new Error(`the app's manifest has no ${name}`);
  return found;
}

function endOfString(text, start) {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}
