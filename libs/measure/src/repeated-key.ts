/**
 * The first key that comes twice in one object of a JSON text; undefined when none does. Keys
 * are compared as they read, not as they are spelled: `a` and `\u0061` are the same.
 *
 * @param json text that `JSON.parse` takes
 */
export function repeatedKey(json: string): string | undefined {
  const outer: Set<string>[] = [];
  let keys = new Set<string>();
  for (const [token, string, colon] of json.matchAll(/("[^"\\]*(?:\\.[^"\\]*)*")([ \t\r\n]*:)?|[{}]/g)) {
    if (token === "{") {
      outer.push(keys);
      keys = new Set();
    } else if (token === "}") {
      keys = outer.pop() ?? keys;
    } else if (string !== undefined && colon !== undefined) {
      const key = JSON.parse(string) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
