/**
 * The first key that comes twice in one object of a JSON text; undefined when none does. Keys
 * are compared as they read, not as they are spelled: `a` and `\u0061` are the same.
 *
 * @param json text that `JSON.parse` takes
 */
export function repeatedKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  let string = "";
  for (const [token] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:]/g)) {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (token !== ":") string = token;
    else {
      const key = JSON.parse(string) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}
