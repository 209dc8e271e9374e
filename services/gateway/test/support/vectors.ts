import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { TestContext } from "node:test";

/** Where a vector lives beside the checkout; skips the test where it is absent. */
export function vectorPath(t: TestContext, name: string): string | undefined {
  const file = fileURLToPath(new URL(`../../../../../shared/vectors/gateway/${name}`, import.meta.url));
  if (existsSync(file)) return file;
  t.skip(`no vectors at ${file}`);
  return undefined;
}

export function vector<T>(t: TestContext, name: string): T | undefined {
  const file = vectorPath(t, name);
  return file === undefined ? undefined : (JSON.parse(readFileSync(file, "utf8")) as T);
}
